"""Addresses of 我的模型, under /models/."""

from django.urls import path

from catalog import chat_views, hub_views, push_views, registry_views

app_name = "models"
urlpatterns = [
    path("", registry_views.model_list, name="list"),
    path("hubs/", hub_views.hub_accounts, name="hubs"),
    path("hubs/<str:uid>/delete/", hub_views.delete_hub_account, name="delete_hub"),
    path("<str:uid>/", registry_views.model_detail, name="detail"),
    path("<str:uid>/delete/", registry_views.delete_model, name="delete"),
    path("versions/<str:uid>/", registry_views.version_detail, name="version"),
    path("versions/<str:uid>/archive/", registry_views.version_archive, name="archive"),
    path("versions/<str:uid>/pushes/", push_views.pushes, name="pushes"),
    path("versions/<str:uid>/chat/", chat_views.version_chat, name="chat"),
    path("versions/<str:uid>/chat/answer/", chat_views.version_answer, name="chat_answer"),
    path("runs/<str:uid>/<int:step>/chat/", chat_views.checkpoint_chat, name="checkpoint_chat"),
    path("runs/<str:uid>/<int:step>/chat/answer/", chat_views.checkpoint_answer, name="checkpoint_answer"),
    path("versions/<str:uid>/delete/", registry_views.delete_version, name="delete_version"),
    path("versions/<str:uid>/files/<path:name>", registry_views.version_file, name="file"),
]
