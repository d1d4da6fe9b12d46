"""Checks the Kubernetes manifest against the published schema, and runs its script and its command
with a kubectl that runs each pod as a process of this machine.

Arguments: the program.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

FOLDER = pathlib.Path("scripts/kubernetes")

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


def main():
    manifest = yaml.safe_load((FOLDER / "bench.yaml").read_text())
    kubernetes_validate.validate(manifest, "1.30", strict=True)
    env = {item["name"]: item["value"]
           for item in manifest["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["PARTS"] == str(manifest["spec"]["completions"]), "PARTS and completions differ"

    program = os.path.abspath(sys.argv[1])
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
