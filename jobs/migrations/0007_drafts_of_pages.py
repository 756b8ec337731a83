from functools import partial

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

from console.models import make_uid


def give_keys(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Every draft a key of its own: the column came with the same one for all."""
    for draft in apps.get_model("jobs", "Draft").objects.all():
        draft.key = make_uid("draft")
        draft.save(update_fields=["key"])


class Migration(migrations.Migration):
    dependencies = [("jobs", "0006_index_of_finished_runs")]

    operations = [
        migrations.RemoveConstraint(model_name="draft", name="draft_once"),
        migrations.AddField(
            model_name="draft",
            name="key",
            field=models.CharField(
                default=partial(make_uid, "draft"), editable=False, max_length=20, verbose_name="key"
            ),
        ),
        migrations.AddField(
            model_name="draft",
            name="is_open",
            field=models.BooleanField(default=False, verbose_name="open in a page"),
        ),
        # Data and constraints in one transaction: PostgreSQL wants pending checks done in between.
        migrations.RunSQL("SET CONSTRAINTS ALL IMMEDIATE", migrations.RunSQL.noop),
        migrations.RunPython(give_keys, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="draft",
            constraint=models.UniqueConstraint(fields=("user", "key"), name="draft_key"),
        ),
    ]
