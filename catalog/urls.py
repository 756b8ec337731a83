"""Addresses of the base models, under /base-models/."""

from django.urls import path

from catalog import views

app_name = "catalog"
urlpatterns = [
    path("", views.base_model_list, name="list"),
    path("<str:name>/", views.base_model_detail, name="detail"),
]
