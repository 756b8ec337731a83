"""Addresses of the datasets."""

from django.urls import path

from datasets import views

app_name = "datasets"
urlpatterns = [
    path("", views.dataset_list, name="list"),
    path("new/", views.create, name="create"),
    path("sample/", views.create_from_sample, name="sample"),
    path("versions/<slug:uid>/", views.version_page, name="version"),
    path("versions/<slug:uid>/progress/", views.import_progress, name="import_progress"),
    path("versions/<slug:uid>/upload/", views.upload, name="upload"),
    path("versions/<slug:uid>/accept/", views.accept, name="accept"),
    path("versions/<slug:uid>/retry/", views.retry, name="retry"),
    path("versions/<slug:uid>/convert/", views.convert, name="convert"),
    path("versions/<slug:uid>/images/<str:name>", views.picture, name="picture"),
    path("versions/<slug:uid>/thumbnails/<str:name>", views.picture_thumbnail, name="thumbnail"),
    path("versions/<slug:uid>/publish/", views.publish_version, name="publish"),
    path("versions/<slug:uid>/download/", views.download, name="download"),
    path("<slug:uid>/", views.detail, name="detail"),
    path("<slug:uid>/new-version/", views.add_version, name="new_version"),
]
