"""An API server of Kubernetes takes what the chart renders: it knows more than schemas do."""

import pytest

from tests.support.chart.go_tools import module_folder
from tests.support.chart.render import CASES, rendered
from tests.support.cluster.control_plane import api_server
from tests.support.cluster.kubectl import Kubectl, Refused
from tests.support.cluster.programs import MissingError

NAMESPACE = "streams"
CRDS = {  # of other projects, whose objects the chart makes
    "keda": ["config/crd/bases/keda.sh_scaledobjects.yaml"],
    "prometheus-operator": [
        f"example/prometheus-operator-crd/monitoring.coreos.com_{name}.yaml"
        for name in ("podmonitors", "prometheusrules")
    ],
}


@pytest.fixture(scope="module")
def kubectl():
    """An API server with the CRDs of KEDA and of Prometheus' operator."""
    try:
        server = api_server()
        with server as command:
            kubectl = Kubectl(command, NAMESPACE)
            for name, files in CRDS.items():
                folder = module_folder(name)
                if folder is None:
                    pytest.skip(f"the CRDs of {name} cannot be downloaded: no Go, or no proxy")
                kubectl("create", *(f"--filename={folder / file}" for file in files))
            kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
            labels = {"pod-security.kubernetes.io/warn": "restricted"}
            metadata = {"name": NAMESPACE, "labels": labels}
            kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
            kubectl("create", "serviceaccount", "reviews")  # without it no pod is looked at
            yield kubectl
    except MissingError as error:
        pytest.skip(str(error))


def judge(kubectl, objects):
    """Give objects to the API server, which checks them and keeps nothing; warnings are errors."""
    strict = ["--dry-run=server", "--validate=strict", "--warnings-as-errors", "--filename=-"]
    return kubectl("apply", *strict, said=objects)


@pytest.mark.parametrize("case", CASES)
def test_the_api_server_takes_every_object_of_the_chart(case, kubectl):
    """Nothing is unknown, malformed or less than restricted, also not for the operators."""
    said = judge(kubectl, rendered(case))
    kinds = {line.partition("/")[0] for line in said.splitlines()}
    assert "statefulset.apps" in kinds
    if case == "full":
        assert {"scaledobject.keda.sh", "podmonitor.monitoring.coreos.com"} <= kinds


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("minReadySeconds:", "minReadySecond:", "unknown field"),
        ("runAsNonRoot: true", "runAsNonRoot: false", "would violate PodSecurity"),
        ("minReplicaCount: 2", 'minReplicaCount: "two"', "minReplicaCount"),
    ],
)
def test_a_mistake_is_refused(right, wrong, complaint, kubectl):
    """A test of the test above, with a mistake for each kind of check."""
    objects = rendered("full")
    assert right in objects
    with pytest.raises(Refused, match=complaint):
        judge(kubectl, objects.replace(right, wrong))
