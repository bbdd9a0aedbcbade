"""KubeRay's own schemas of its kinds, made strict: what they do not know is refused.

They are read from `kuberay.json.gz`, which was written from the CRDs of KubeRay 1.6.2
(Apache-2.0, module github.com/ray-project/kuberay/ray-operator, config/crd/bases), without
descriptions, by

python tests/charts/kuberay_schemas.py FOLDER_OF_CRDS
"""

import gzip
import json
import sys
from pathlib import Path

import jsonschema
import yaml

KINDS = ("raycluster", "rayjob", "rayservice")
STORED = Path(__file__).parent / "kuberay.json.gz"


def schemas():
    """Kind -> JSON schema."""
    return json.loads(gzip.decompress(STORED.read_bytes()))


def problems(manifest, known):
    """In words, what a schema of `known` does not like in a manifest."""
    checker = jsonschema.Draft202012Validator(known[manifest["kind"]])
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(manifest)]


def strict(node):
    """A schema of a CRD as JSON schema that refuses unknown fields."""
    if isinstance(node, list):
        return [strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    out = {
        key: strict(value)
        for key, value in node.items()
        if key not in ("description", "format", "default") and not key.startswith("x-kubernetes")
    }
    if isinstance(node.get("properties"), dict):
        # A field may be named like a keyword of JSON schema.
        out["properties"] = {name: strict(value) for name, value in node["properties"].items()}
        if "additionalProperties" not in node:
            out["additionalProperties"] = bool(node.get("x-kubernetes-preserve-unknown-fields"))
    return out


def main(folder):
    made = {}
    for name in KINDS:
        crd = yaml.safe_load((Path(folder) / f"ray.io_{name}s.yaml").read_text())
        (version,) = (one for one in crd["spec"]["versions"] if one["name"] == "v1")
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        made[crd["spec"]["names"]["kind"]] = schema
    text = json.dumps(made, separators=(",", ":"), sort_keys=True)
    STORED.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main(sys.argv[1])
