"""Addresses of the datasets."""

from django.urls import path, re_path

from datasets.views import connections, files, lists, problems, rows, statistics, uploads, versions

app_name = "datasets"
urlpatterns = [
    path("", lists.dataset_list, name="list"),
    path("new/", lists.create, name="create"),
    path("sample/", lists.create_from_sample, name="sample"),
    path("connections/", connections.connection_list, name="connections"),
    path("connections/new/", connections.create_connection, name="new_connection"),
    path("connections/choose/", connections.choose, name="choose_connection"),
    path("connections/<slug:uid>/", connections.edit_connection, name="connection"),
    path("connections/<slug:uid>/delete/", connections.delete_connection, name="delete_connection"),
    path("connections/<slug:uid>/browse/", connections.browse, name="browse"),
    path("connections/<slug:uid>/import/", connections.import_objects, name="import_objects"),
    path("connections/<slug:uid>/use/", connections.use_in_place, name="use_in_place"),
    path("versions/<slug:uid>/", versions.version_page, name="version"),
    path("versions/<slug:uid>/rows/", rows.rows_page, name="rows"),
    path("versions/<slug:uid>/statistics/", statistics.statistics_page, name="statistics"),
    path("versions/<slug:uid>/progress/", versions.import_progress, name="import_progress"),
    path("versions/<slug:uid>/upload/", uploads.upload, name="upload"),
    path("versions/<slug:uid>/uploads/", uploads.begin_upload, name="begin_upload"),
    path("versions/<slug:uid>/uploads/import/", uploads.import_arrived, name="import_arrived"),
    path("versions/<slug:uid>/uploads/<slug:upload_uid>/", uploads.upload_piece, name="upload_piece"),
    path(
        "versions/<slug:uid>/uploads/<slug:upload_uid>/discard/",
        uploads.discard_upload,
        name="discard_upload",
    ),
    path("versions/<slug:uid>/cancel/", uploads.cancel, name="cancel"),
    path("versions/<slug:uid>/problems/", problems.problems_page, name="problems"),
    re_path(
        r"^versions/(?P<uid>[\w-]+)/problems\.(?P<ending>jsonl|csv)$",
        problems.problems_download,
        name="problems_download",
    ),
    path("versions/<slug:uid>/problems/<slug:key>/", problems.mend, name="mend"),
    path("versions/<slug:uid>/accept/", versions.accept, name="accept"),
    path("versions/<slug:uid>/retry/", versions.retry, name="retry"),
    path("versions/<slug:uid>/count-again/", connections.count_again, name="count_again"),
    path("versions/<slug:uid>/convert/", versions.convert, name="convert"),
    path("versions/<slug:uid>/images/<str:name>", files.picture, name="picture"),
    path("versions/<slug:uid>/thumbnails/<str:name>", files.picture_thumbnail, name="thumbnail"),
    path("versions/<slug:uid>/publish/", versions.publish_version, name="publish"),
    path("versions/<slug:uid>/download/", files.download, name="download"),
    path("<slug:uid>/", lists.detail, name="detail"),
    path("<slug:uid>/new-version/", lists.add_version, name="new_version"),
]
