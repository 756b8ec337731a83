"""Addresses of the page of API keys."""

from django.urls import path

from console.api import views

urlpatterns = [
    path("", views.api_keys, name="api_keys"),
    path("create/", views.create, name="api_key_create"),
    path("<int:pk>/revoke/", views.revoke, name="api_key_revoke"),
]
