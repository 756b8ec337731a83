"""Jobs, runs and models through Qianfan's API and through OpenAI's."""
