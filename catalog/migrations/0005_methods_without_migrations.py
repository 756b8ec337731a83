import catalog.hyperparameters
import catalog.methods
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("catalog", "0004_pushes"),
    ]

    operations = [
        migrations.AlterField(
            model_name="modelversion",
            name="method",
            field=models.CharField(
                choices=catalog.methods.method_choices, max_length=30, verbose_name="training method"
            ),
        ),
        migrations.AlterField(
            model_name="offer",
            name="method",
            field=models.CharField(
                choices=catalog.methods.method_choices, max_length=40, verbose_name="training method"
            ),
        ),
        migrations.AlterField(
            model_name="offeredhyperparameter",
            name="key",
            field=models.CharField(
                choices=catalog.hyperparameters.key_choices, max_length=40, verbose_name="key"
            ),
        ),
    ]
