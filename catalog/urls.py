"""Addresses of the base models, under /base-models/."""

from django.urls import path

from catalog import chat_views, views

app_name = "catalog"
urlpatterns = [
    path("", views.base_model_list, name="list"),
    path("<str:name>/", views.base_model_detail, name="detail"),
    path("<str:name>/chat/", chat_views.base_model_chat, name="chat"),
    path("<str:name>/chat/answer/", chat_views.base_model_answer, name="chat_answer"),
]
