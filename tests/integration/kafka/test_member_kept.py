"""What the group does with the place of a worker that ends: it is kept for a session."""

from kafka import KafkaAdminClient
from typer.testing import CliRunner

from consumer.cli.app import app
from deploy.local.process import wait_until
from tests.support.members import AT_ONCE, SESSION_S, Members


def test_the_group_keeps_the_place_of_a_member_that_ends(kafka):
    """Closed, it is a member still, so no partition moves where it is back within its session."""
    members = Members(kafka, partitions=2)
    name = members.topic
    with KafkaAdminClient(bootstrap_servers=kafka) as admin:

        def there():
            return len(admin.describe_groups([name])[name]["members"])

        stream = members.join("a")
        wait_until(
            lambda: bool(stream.collect(AT_ONCE) or stream.assigned()), timeout_s=30, what="it"
        )
        members.close()
        assert there() == 1
        wait_until(lambda: there() == 0, timeout_s=SESSION_S + 10, what="the end of its session")


def test_the_help_says_that_a_worker_that_ends_keeps_its_place():
    """`offramp worker --help` promises what the group does, and names the setting."""
    shown = CliRunner().invoke(app, ["worker", "--help"], env={"COLUMNS": "200"}).stdout
    said = " ".join(shown.split())
    assert "leave the group" not in said
    assert "back within kafka.session_timeout_s, it gets the same partitions again" in said
