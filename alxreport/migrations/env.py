"""Alembic's entry: runs the migrations on the engine that ``migrations.upgrade`` hands over."""

from alembic import context

from alxreport.failover import wait_without_end

engine = context.config.attributes["engine"]
tables = context.config.attributes["tables"]

with engine.connect() as raw:
    connection = raw.execution_options(alx_writing=True, alx_raw_errors=True)
    wait_without_end(connection)
    context.configure(
        connection=connection,
        target_metadata=tables.metadata,
        version_table=tables.version,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
