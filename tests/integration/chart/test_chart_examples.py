"""The examples beside the chart agree with the repository, and with a real Redis."""

import os
import re
import stat
import subprocess
from pathlib import Path

import redis
import yaml

from consumer.kafka.topic_plan import Sizes, needed_topics
from consumer.kafka.topics import Cluster
from consumer.routes.table import settings_table
from consumer.settings.load import Settings
from deploy.helm.derived import CHART
from deploy.local.services import start_redis
from tests.support.chart.render import KUBERNETES, helm, pod_of

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = CHART.parent / "examples"
KINDS = {"topic": "--topic", "group": "--group", "transactionalId": "--transactional-id"}
FOUND_BY = ("type", "name", "patternType")


def documents(name):
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


def test_users_of_strimzi_have_the_rights_of_the_script(tmp_path):
    """Each KafkaUser may do what deploy/kafka/acls.sh lets its user do, and nothing else."""
    program = tmp_path / "kafka-acls"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(stat.S_IRWXU)
    said = subprocess.run(
        [ROOT / "deploy" / "kafka" / "acls.sh"],
        env={
            **os.environ,
            "KAFKA_ACLS": str(program),
            "BOOTSTRAP_SERVERS": "unused",
            "GROUP": "offramp",
            "INPUTS": "texts.hotels texts.films",
            "OUTPUTS": "offramp.predictions",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    of_script = set()
    for line in said.splitlines():
        user = line.partition("User:")[2].split()[0]
        pattern = "prefix" if "prefixed" in line else "literal"
        for kind, option in KINDS.items():
            for name in re.findall(rf"{option} (\S+)", line):
                for operation in re.findall(r"--operation (\S+)", line):
                    of_script.add((user, kind, name, pattern, operation))
    users = [thing for thing in documents("strimzi.yaml") if thing["kind"] == "KafkaUser"]
    assert of_script == {
        (user["metadata"]["name"], *(acl["resource"][key] for key in FOUND_BY), operation)
        for user in users
        for acl in user["spec"]["authorization"]["acls"]
        for operation in acl["operations"]
    }  # fmt: skip


def test_topics_of_strimzi_are_those_that_the_command_creates():
    """Names, partitions, copies and configuration are those of `offramp topics init`."""
    day_ms = 24 * 3600 * 1000
    settings = Settings(**yaml.safe_load((EXAMPLES / "values.yaml").read_text())["settings"])
    planned = needed_topics(
        settings_table(settings.routes or ()),
        ["texts.hotels", "texts.films"],
        dead_letters=settings.kafka.dead_letters,
        policy_topic=settings.kafka.policy_topic,
        cluster=Cluster(brokers=3, partitions={}),
        sizes=Sizes(
            partitions=12,
            dead_letter_partitions=1,
            replication_factor=3,
            input_retention_ms=7 * day_ms,
            output_retention_ms=30 * day_ms,
            dead_letter_retention_ms=30 * day_ms,
        ),
    )
    topics = [thing for thing in documents("strimzi.yaml") if thing["kind"] == "KafkaTopic"]
    assert {
        thing["metadata"]["name"]: (
            thing["spec"]["partitions"],
            thing["spec"]["replicas"],
            {name: str(value) for name, value in thing["spec"]["config"].items()},
        )
        for thing in topics
    } == {
        plan.topic.name: (
            plan.topic.partitions,
            plan.topic.replication_factor,
            dict(plan.topic.configs),
        )
        for plan in planned
    }


def test_the_values_render_and_name_the_secrets_that_there_are():
    """Each Secret of the pods is one of Strimzi's, or one that the page makes."""
    values = EXAMPLES / "values.yaml"
    answer = helm("template", "offramp", CHART, "--kube-version", KUBERNETES, "--values", values)
    assert answer.returncode == 0, answer.stderr
    things = list(filter(None, yaml.safe_load_all(answer.stdout)))
    pods = [pod_of(t) for t in things if t["kind"] in {"StatefulSet", "Deployment"}]
    mounted = {v["secret"]["secretName"] for pod in pods for v in pod["volumes"] if "secret" in v}
    users = {t["metadata"]["name"] for t in documents("strimzi.yaml") if t["kind"] == "KafkaUser"}
    made = {f"redis-{user}" for user in ("worker", "viewer")}
    assert mounted <= users | made | {"kafka-cluster-ca-cert", "offramp-dashboard"}
    assert {"offramp-worker", "redis-worker"} <= mounted
    configured = {t["metadata"]["name"] for t in things if t["kind"] == "ConfigMap"}
    (backup, _) = documents("backup.yaml")
    volumes = backup["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"]
    assert {v["configMap"]["name"] for v in volumes if "configMap" in v} <= configured


def test_a_real_redis_takes_the_configuration_and_the_users(tmp_path):
    """It keeps its data, evicts nothing, and lets in each user with the password of its file."""
    _, config = documents("redis.yaml")
    lines = config["data"]["redis-additional.conf"].splitlines()
    wanted = dict(line.split(maxsplit=1) for line in lines)
    page = (EXAMPLES / "README.md").read_text()
    (block,) = [b for b in re.findall(r"(?:^    .*\n)+", page, re.MULTILINE) if "sha256sum" in b]
    script = "\n".join(line[4:] for line in block.splitlines() if "kubectl" not in line)
    script = script.replace("deploy/redis/users.acl", str(ROOT / "deploy" / "redis" / "users.acl"))
    subprocess.run(["sh", "-euc", script], cwd=tmp_path, check=True, timeout=60)
    args = [part for name, value in wanted.items() for part in (f"--{name}", value)]
    with (
        start_redis(args=[*args, "--dir", str(tmp_path)]) as server,
        redis.Redis.from_url(server.url) as admin,
    ):
        found = {name: admin.config_get(name)[name] for name in wanted}
        assert found | {"maxmemory": wanted["maxmemory"]} == wanted
        assert found["maxmemory"] == str(1500 * 2**20)
        for line in (tmp_path / "user.acl").read_text().splitlines():
            _, name, *rules = line.split()
            admin.execute_command("ACL", "SETUSER", name, "reset", *rules)
        host, port = server.address.split(":")
        for user in ("default", "worker", "viewer"):
            right = (tmp_path / f"{user}.password").read_text()
            name = user if user == "default" else f"offramp-{user}"
            for password, accepted in ((right, True), (user, False)):
                with redis.Redis(host, int(port), username=name, password=password) as login:
                    assert lets_in(login) == accepted


def lets_in(login):
    try:
        return login.ping()
    except redis.AuthenticationError:
        return False
