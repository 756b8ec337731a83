"""Datasets through Qianfan's API."""
