"""Addresses of notifications and webhooks."""

from django.urls import path

from console.notifications import pages, webhook_pages

urlpatterns = [
    path("notifications/", pages.notification_list, name="notifications"),
    path("notifications/bell/", pages.bell, name="bell"),
    path("notifications/read/", pages.mark_read, name="notifications_read"),
    path("notifications/settings/", pages.channels, name="notification_settings"),
    path("notifications/<str:uid>/", pages.open_notification, name="notification"),
    path("webhooks/", webhook_pages.webhook_list, name="webhooks"),
    path("webhooks/<str:uid>/", webhook_pages.webhook, name="webhook"),
    path("webhooks/<str:uid>/secret/", webhook_pages.new_secret, name="webhook_secret"),
    path("webhooks/<str:uid>/test/", webhook_pages.test, name="webhook_test"),
    path("webhooks/<str:uid>/delete/", webhook_pages.delete, name="webhook_delete"),
    path("webhooks/<str:uid>/<str:delivery>/again/", webhook_pages.send_again, name="webhook_again"),
]
