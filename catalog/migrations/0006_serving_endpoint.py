import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("catalog", "0005_methods_without_migrations"),
    ]

    operations = [
        migrations.CreateModel(
            name="ServingEndpoint",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "url",
                    models.CharField(
                        help_text="Up to and with /v1, for example http://gpu-1.lan:8000/v1.",
                        max_length=300,
                        verbose_name="address",
                    ),
                ),
                (
                    "served_name",
                    models.CharField(
                        help_text="What the server calls the model.",
                        max_length=200,
                        verbose_name="model name there",
                    ),
                ),
                ("api_key", models.TextField(blank=True, editable=False, verbose_name="API key")),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
                (
                    "base_model",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="serving_endpoint",
                        to="catalog.basemodel",
                        verbose_name="base model",
                    ),
                ),
                (
                    "model_version",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="serving_endpoint",
                        to="catalog.modelversion",
                        verbose_name="model version",
                    ),
                ),
            ],
            options={
                "verbose_name": "serving endpoint",
                "verbose_name_plural": "serving endpoints",
                "ordering": ("pk",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("base_model__isnull", False), ("model_version__isnull", True)),
                            models.Q(("base_model__isnull", True), ("model_version__isnull", False)),
                            _connector="OR",
                        ),
                        name="serving_endpoint_for_one_model",
                        violation_error_message="Choose a base model or a model version, one of the two.",
                    )
                ],
            },
        ),
    ]
