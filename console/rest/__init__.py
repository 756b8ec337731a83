"""`/api/v1/`: the console's own API, for what Qianfan's and OpenAI's have no words for.

api.py puts it together; the endpoints of jobs, datasets and the catalogue lie in their apps (*/api/rest_*.py).
"""
