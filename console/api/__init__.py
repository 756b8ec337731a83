"""What the APIs share: keys, who calls, signatures, and the envelopes of Qianfan's and OpenAI's answers."""
