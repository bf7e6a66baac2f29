"""Checks the Kubernetes manifests against KubeRay's definition of RayService and the schemas of Kubernetes itself.

    make manifests CRD=ray.io_rayservices.yaml

Fields that a schema does not know are errors, as the API server drops them in silence. The definition comes with each
release of KubeRay: helm-chart/kuberay-operator/crds/ray.io_rayservices.yaml (or .yaml.gz, as it is). Needs packages
that nothing else does (kubernetes-validate, jsonschema, PyYAML); nothing is fetched.
"""

import argparse
import gzip
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

MANIFESTS = Path(__file__).parent / "kuberay"


def strict(schema: Any) -> Any:
    """The same OpenAPI schema, in which fields that it does not name are wrong, except where it keeps unknown ones."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(value) for name, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not is_open:
        made["additionalProperties"] = False
    return made


def schemas_of(definition: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """Of a CustomResourceDefinition, its schemas by apiVersion and kind."""
    group, kind = definition["spec"]["group"], definition["spec"]["names"]["kind"]
    return {
        (f"{group}/{version['name']}", kind): strict(version["schema"]["openAPIV3Schema"])
        for version in definition["spec"]["versions"]
    }


def errors_in(manifest: dict[str, Any], custom: dict[tuple[str, str], Any]) -> Iterator[str]:
    """What is wrong with a manifest, each with its place."""
    schema = custom.get((manifest["apiVersion"], manifest["kind"]))
    if schema is not None:
        for error in jsonschema.Draft202012Validator(schema).iter_errors(manifest):
            yield f"{error.json_path}: {error.message}"
        return
    try:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.SchemaNotFoundError as error:
        yield error.message
    except kubernetes_validate.ValidationError as error:
        yield f"{error.json_path}: {error.message}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crd", type=Path, required=True, help="KubeRay's definition of RayService")
    crd = parser.parse_args().crd
    content = gzip.decompress(crd.read_bytes()) if crd.suffix == ".gz" else crd.read_bytes()
    custom = schemas_of(yaml.safe_load(content))
    found = 0
    for path in sorted(MANIFESTS.glob("*.yaml")):
        for manifest in yaml.safe_load_all(path.read_text()):
            wrong = list(errors_in(manifest, custom))
            print(f"{path.name}: {manifest['kind']}: {'wrong' if wrong else 'valid'}", *wrong, sep="\n  ")
            found += len(wrong)
    sys.exit(found and 1)


if __name__ == "__main__":
    main()
