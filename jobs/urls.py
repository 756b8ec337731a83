"""Addresses of jobs and runs."""

from django.urls import path

from jobs.views import compare, deletion, drafts, jobs, logs, runs, sources, wizard

app_name = "jobs"
urlpatterns = [
    path("", jobs.job_list, name="list"),
    path("new/", wizard.create, name="create"),
    path("new/panel/", wizard.panel, name="panel"),
    path("new/source/<slug:uid>/", sources.source_row, name="source_row"),
    path("new/draft/", drafts.save_draft, name="save_draft"),
    path("new/draft/discard/", drafts.discard_draft, name="discard_draft"),
    path("compare/", compare.compare_runs, name="compare"),
    path("compare/curves/", compare.compare_curves, name="compare_curves"),
    path("<slug:uid>/", jobs.job_detail, name="detail"),
    path("<slug:uid>/new/", wizard.new_run, name="new_run"),
    path("runs/<slug:uid>/", runs.run_detail, name="run"),
    path("runs/<slug:uid>/configuration/", runs.run_configuration, name="configuration"),
    path("runs/<slug:uid>/progress/", runs.run_progress, name="progress"),
    path("runs/<slug:uid>/metrics/", runs.run_metrics, name="metrics"),
    path("runs/<slug:uid>/log/", logs.run_log, name="log"),
    path("runs/<slug:uid>/samples/<str:name>", runs.run_sample, name="sample"),
    path("runs/<slug:uid>/stop/", runs.stop_run, name="stop"),
    path("runs/<slug:uid>/pause/", runs.pause_run, name="pause"),
    path("runs/<slug:uid>/resume/", runs.resume_run, name="resume"),
    path("runs/<slug:uid>/priority/", runs.change_priority, name="priority"),
    path("runs/<slug:uid>/publish/", runs.publish_run, name="publish_run"),
    path("runs/<slug:uid>/delete/", deletion.delete_run, name="delete_run"),
    path("<slug:uid>/delete/", deletion.delete_job, name="delete_job"),
]
