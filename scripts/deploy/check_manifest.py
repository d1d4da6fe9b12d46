"""Checks the Kubernetes manifests against the published schemas. Runs the script and the command of
the job with a kubectl that runs each pod as a process of this machine, and the commands of the server
and the prober against their probes.

Arguments: the program.
"""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

import kubernetes_validate
import yaml

FOLDER = pathlib.Path("scripts/kubernetes")
WAIT_MAX_S = 60

# Runs the pods at `apply`, in the background, and waits for them at `wait`.
KUBECTL = r'''#!/usr/bin/env python3
import json, os, subprocess, sys, yaml
verb, folder = sys.argv[1], os.environ["PODS"]
if verb == "apply":
    job = yaml.safe_load(sys.stdin)
    container = job["spec"]["template"]["spec"]["containers"][0]
    env = {item["name"]: item["value"] for item in container["env"]}
    args = [arg.replace("tcp://server:7007", os.environ["SERVER"]).replace("-t 30s", "-t 500ms")
            for arg in container["args"]]
    pods = []
    for index in range(job["spec"]["completions"]):
        with open(f"{folder}/{index}", "wb") as log:
            env_of = {**os.environ, **env, "JOB_COMPLETION_INDEX": str(index)}
            pods.append(subprocess.Popen(container["command"] + args, env=env_of, stdout=log))
    for pod in pods:
        pod.wait()
elif verb == "logs":
    index = sys.argv[3].rsplit("=", 1)[1]
    sys.stdout.write(open(f"{folder}/{index}").read())
'''


def manifests(name):
    """Returns the documents of a file after their check, as a map from kind to document."""
    documents = list(yaml.safe_load_all((FOLDER / name).read_text()))
    for document in documents:
        kubernetes_validate.validate(document, "1.30", strict=True)
    return {document["kind"]: document for document in documents}


def container_of(deployment):
    """Returns the container of a deployment, after a check of what the schema cannot know."""
    spec = deployment["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["template"]["spec"]["securityContext"]["runAsNonRoot"]
    rights = container["securityContext"]
    assert rights["readOnlyRootFilesystem"] and not rights["allowPrivilegeEscalation"]
    assert rights["capabilities"] == {"drop": ["ALL"]}
    return container


@contextlib.contextmanager
def running(program, container, places):
    """Runs the container's command at these places, until its probes have succeeded."""
    args = [places.get(arg, arg) for arg in container["args"]]
    assert set(places) <= set(container["args"]), container["args"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with tempfile.TemporaryFile("w+") as log, \
            subprocess.Popen([program, *args], **{**pipes, "stderr": log}) as process:
        try:
            probe(container, log, process)
            yield process
        finally:
            process.terminate()
            process.wait(timeout=WAIT_MAX_S)


def probe(container, log, process):
    """Makes the HTTP requests of the probes, at the address that the log names."""
    deadline = time.monotonic() + WAIT_MAX_S
    while not (found := re.search(r"metrics at (http://[^/\s]+)/", text_of(log))):
        assert process.poll() is None and time.monotonic() < deadline, text_of(log)
        time.sleep(0.01)
    for name in ("readinessProbe", "livenessProbe"):
        request = container[name]["httpGet"]
        assert request["port"] in [port["name"] for port in container["ports"]]
        with urllib.request.urlopen(found[1] + request["path"], timeout=WAIT_MAX_S) as response:
            assert response.status == 200


def text_of(log):
    log.seek(0)
    return log.read()


def check_server_and_prober(program):
    served, probing = manifests("serve.yaml"), manifests("prober.yaml")
    server = container_of(served["Deployment"])
    service = served["Service"]["spec"]
    assert service["selector"] == served["Deployment"]["spec"]["selector"]["matchLabels"]
    ports = {port["name"]: port["protocol"] for port in server["ports"]}
    assert all(ports[port["targetPort"]] == port["protocol"] for port in service["ports"])
    places = {"tcp://:7007": "tcp://127.0.0.1:0", "udp://:7007": "udp://127.0.0.1:0"}
    with running(program, server, {**places, ":9100": "127.0.0.1:0"}) as process:
        endpoints = [process.stdout.readline().split()[1] for _ in places]
        targets = dict(zip(("tcp://resound:7007", "udp://resound:7007"), endpoints))
        prober = container_of(probing["Deployment"])
        with running(program, prober, {**targets, ":9101": "127.0.0.1:0"}):
            print("the server and its prober are valid, and their probes succeed")


def main():
    manifest = manifests("bench.yaml")["Job"]
    env = {item["name"]: item["value"]
           for item in manifest["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["PARTS"] == str(manifest["spec"]["completions"]), "PARTS and completions differ"

    program = os.path.abspath(sys.argv[1])
    check_server_and_prober(program)
    with tempfile.TemporaryDirectory() as folder:
        tools = pathlib.Path(folder, "bin")
        tools.mkdir()
        (tools / "kubectl").write_text(KUBECTL)
        (tools / "kubectl").chmod(0o755)
        (tools / "resound").symlink_to(program)
        server = subprocess.Popen([program, "serve", "tcp://127.0.0.1:0"],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            endpoint = server.stdout.readline().split()[1]
            path = f"{tools}:{os.environ['PATH']}"
            env = {**os.environ, "PATH": path, "PODS": folder, "SERVER": endpoint}
            merged = subprocess.run([FOLDER / "run.sh", "10", "-J"], env=env, timeout=120,
                                    stdout=subprocess.PIPE, check=False)
        finally:
            server.terminate()
            server.wait(timeout=60)
    document = json.loads(merged.stdout)
    assert document["error"] is None, document["error"]
    assert len(document["parts"]) == 4 and document["connections"] == 200, document["parts"]
    print("the manifest is valid, and its four parts make one result")


main()
