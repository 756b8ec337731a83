from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("console", "0005_notifications"),
    ]

    operations = [
        # In two steps: with auto_now_add at once, whoever is there already would have joined today.
        migrations.AddField(
            model_name="membership",
            name="joined_at",
            field=models.DateTimeField(null=True, verbose_name="joined at"),
        ),
        migrations.AlterField(
            model_name="membership",
            name="joined_at",
            field=models.DateTimeField(auto_now_add=True, null=True, verbose_name="joined at"),
        ),
    ]
