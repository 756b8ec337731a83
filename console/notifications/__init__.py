"""What people and programs are told: in the page, by e-mail, by webhooks.

kinds.py lists what there is to tell. recording.py writes an event down, with everything that is to be sent because of
it, in the transaction of the change that causes it. outbox.py has it sent at least once, whatever is killed meanwhile.
"""
