import catalog.methods
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0010_limits_and_priorities"),
    ]

    operations = [
        migrations.AlterField(
            model_name="run",
            name="method",
            field=models.CharField(
                choices=catalog.methods.method_choices, max_length=30, verbose_name="training method"
            ),
        ),
        migrations.AlterField(
            model_name="throughput",
            name="method",
            field=models.CharField(
                choices=catalog.methods.method_choices, max_length=30, verbose_name="training method"
            ),
        ),
    ]
