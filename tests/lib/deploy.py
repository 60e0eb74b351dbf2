"""What the schema of Kubernetes does not ask and we do; and the parts of files that the shell needs.

usage: deploy.py pods STOP_SECONDS FILE...    rules for every pod in rendered manifests
       deploy.py rules ALERTS FILE            that the PrometheusRule in rendered manifests is the file of alerts
       deploy.py names ALERTS PAGE RUNBOOK    that the alerts' metrics are on a page of metrics, and what they mean in
                                              the runbook
       deploy.py config FILE                  the usher.toml of the ConfigMap in rendered manifests
       deploy.py compose FILE                 rules for a Compose file
       deploy.py block NAME FILE              the code block of a Markdown file that follows `<!-- run: NAME -->`
       deploy.py table FILE                   the table of settings in a Markdown file
"""

import re
import sys

import yaml


def documents(path):
    with open(path, encoding="utf-8") as file:
        return [document for document in yaml.safe_load_all(file) if document]


def pod_problems(pod, stop_seconds):
    security = pod.get("securityContext", {})
    yield pod.get("automountServiceAccountToken") is False, "mounts a service account token"
    yield pod.get("enableServiceLinks") is False, "gets variables of Services"
    yield security.get("runAsNonRoot") is True, "may run as root"
    yield security.get("seccompProfile", {}).get("type") == "RuntimeDefault", "has no seccomp profile"
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        yield not pod.get(key), f"has {key}"
    for volume in pod.get("volumes", []):
        kind = set(volume) - {"name"}
        restricted = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
        yield kind <= restricted, f"has a volume of kind {kind}"
    for container in pod["containers"] + pod.get("initContainers", []):
        name = container["name"]
        context = container.get("securityContext", {})
        yield context.get("allowPrivilegeEscalation") is False, f"{name} may gain privileges"
        yield context.get("readOnlyRootFilesystem") is True, f"{name} may write its root"
        yield context.get("capabilities") == {"drop": ["ALL"]}, f"{name} keeps capabilities"
        resources = container.get("resources", {})
        memory = resources.get("limits", {}).get("memory")
        yield memory is not None, f"{name} has no memory limit"
        yield memory == resources.get("requests", {}).get("memory"), f"{name} asks for less memory than its limit"
        yield re.search(r":[^/]*\d", container["image"]) is not None, f"{name} has an image without a version"
        if any(port.get("name") == "grpc" for port in container.get("ports", [])):
            pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            grace = pod.get("terminationGracePeriodSeconds", 30)
            yield grace > pause + stop_seconds, f"{name} may be killed while it stops"
            services = {"startupProbe": "liveness", "readinessProbe": "readiness", "livenessProbe": "liveness"}
            for probe, service in services.items():
                asked = container.get(probe, {}).get("grpc", {}).get("service")
                yield asked == service, f"{name}: {probe} asks about {asked}, not {service}"
            ports = [port.get("name") for port in container["ports"]]
            yield "metrics" in ports, f"{name} has no port for metrics"


def pods(stop_seconds, *paths):
    for path in paths:
        found = 0
        for document in documents(path):
            name = f"{path}: {document['kind']} {document['metadata']['name']}"
            if document["kind"] == "Secret":
                yield f"{name}: a Secret does not belong into manifests"
            spec = document.get("spec", {})
            if "template" in spec:
                found += 1
                for holds, problem in pod_problems(spec["template"]["spec"], int(stop_seconds)):
                    if not holds:
                        yield f"{name}: {problem}"
        if not found:
            yield f"{path}: has no pods"


def rules(alerts, path):
    """There is no schema of the operator's kinds here, so their shape is compared and not validated."""
    (wanted,) = documents(alerts)
    found = {document["kind"]: document for document in documents(path)}
    if set(found) != {"PrometheusRule", "PodMonitor"}:
        yield f"{path}: has {sorted(found)}"
        return
    for document in found.values():
        if document["apiVersion"] != "monitoring.coreos.com/v1" or document["metadata"].get("namespace") != "usher":
            yield f"{path}: {document['kind']} is of another version or namespace"
    if found["PrometheusRule"]["spec"] != wanted:
        yield f"{path}: the PrometheusRule differs from {alerts}"
    endpoints = found["PodMonitor"]["spec"]["podMetricsEndpoints"]
    if [endpoint["port"] for endpoint in endpoints] != ["metrics"]:
        yield f"{path}: the PodMonitor reads another port"


def names(alerts, page, runbook):
    with open(page, encoding="utf-8") as file:
        served = set(re.findall(r"^(\w+)[{ ]", file.read(), re.MULTILINE))
    with open(runbook, encoding="utf-8") as file:
        told = file.read()
    (wanted,) = documents(alerts)
    for rule in wanted["groups"][0]["rules"]:
        for name in re.findall(r"\b(?:usher|rpc)_\w+", re.sub(r"\{.*?\}", "", rule["expr"])):
            if name not in served | {"usher_cache_lease_age_seconds"}:  # only on PostgreSQL
                yield f"{rule['alert']}: there is no metric {name}"
        if f"`{rule['alert']}`" not in told:
            yield f"{runbook}: does not say what {rule['alert']} means"


def compose(path):
    (file,) = documents(path)
    for name, service in file["services"].items():
        if "healthcheck" in service and "test" not in service["healthcheck"]:
            yield f"{name}: its health check tests nothing"
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                yield f"{name}: port {port} is not bound to loopback"
        for secret in service.get("secrets", []):
            if secret not in file["secrets"]:
                yield f"{name}: there is no secret {secret}"
        for other, how in service.get("depends_on", {}).items():
            if other not in file["services"]:
                yield f"{name}: there is no service {other}"
            elif how["condition"] == "service_healthy" and "healthcheck" not in file["services"][other]:
                yield f"{name}: waits for {other}, which has no health check"
        for variable in service.get("environment", {}):
            if re.search("PASSWORD$|TOKEN$|DATABASE_URL$", variable):
                yield f"{name}: {variable} holds a secret; give a file"


def config(path):
    for document in documents(path):
        if document["kind"] == "ConfigMap" and "usher.toml" in document["data"]:
            return document["data"]["usher.toml"]
    sys.exit(f"{path}: there is no usher.toml")


def between(path, pattern, what):
    with open(path, encoding="utf-8") as file:
        found = re.search(pattern, file.read(), re.DOTALL)
    return found[1] if found else sys.exit(f"{path}: there is no {what}")


def main(command, *arguments):
    checks = {"pods": pods, "compose": compose, "rules": rules, "names": names}
    if command in checks:
        problems = list(checks[command](*arguments))
        print(*problems, sep="\n", end="\n" if problems else "")
        sys.exit(bool(problems))
    if command == "config":
        sys.stdout.write(config(*arguments))
    elif command == "block":
        name, path = arguments
        pattern = rf"<!-- run: {re.escape(name)} -->\n+```\w+\n(.*?)```"
        sys.stdout.write(between(path, pattern, f"block `{name}`"))
    elif command == "table":
        (path,) = arguments
        sys.stdout.write(between(path, r"<!-- usher config settings -->\n(.*?)<!-- end -->", "table"))
    else:
        sys.exit(__doc__)


main(*sys.argv[1:])
