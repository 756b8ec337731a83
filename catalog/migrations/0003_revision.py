"""A number that moves with every change of what is offered, whoever makes it: the admin, a bulk update, psql.

The number comes from a sequence, so that one from a transaction that was rolled back is never given again. The row
makes it visible to others only with the change itself.
"""

from django.db import migrations

TABLES = ("modelfamily", "basemodel", "offer", "offeredhyperparameter")

FORWARD = """
CREATE SEQUENCE catalog_revision_number;
CREATE TABLE catalog_revision (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), number bigint NOT NULL);
INSERT INTO catalog_revision (number) VALUES (nextval('catalog_revision_number'));
CREATE FUNCTION move_catalog_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE catalog_revision SET number = nextval('catalog_revision_number');
    RETURN NULL;
END $$;
"""
BACKWARD = """
DROP FUNCTION move_catalog_revision CASCADE;
DROP TABLE catalog_revision;
DROP SEQUENCE catalog_revision_number;
"""
TRIGGER = """
CREATE TRIGGER move_catalog_revision AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON catalog_{table}
FOR EACH STATEMENT EXECUTE FUNCTION move_catalog_revision();
"""


class Migration(migrations.Migration):
    dependencies = [("catalog", "0002_initial")]

    operations = [
        migrations.RunSQL(FORWARD + "".join(TRIGGER.format(table=table) for table in TABLES), BACKWARD),
    ]
