"""The project as a home: what its documents name exists, what exists is documented, and the lock can be trusted."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from deployments import config

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):(?!=)", MAKEFILE, re.MULTILINE))
DOCUMENTS = [ROOT / name for name in ("README.md", "DESIGN.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/**/*.md"))
SETTINGS: dict[str, type[BaseModel]] = {
    "The service": config.AppConfig,
    "A model": config.ModelConfig,
    "Models on demand": config.OnDemandConfig,
    "A shared stage": config.SharedStageConfig,
    "Limits of a request": config.Limits,
    "Access": config.AccessConfig,
    "Safety": config.SafetyConfig,
    "Files": config.FilesConfig,
    "Cache": config.CacheConfig,
    "Batches": config.BatchesConfig,
    "Every deployment": config.DeploymentConfig,
    "The gateway": config.GatewayConfig,
    "Every stage": config.StageConfig,
    "`text_encoder`": config.TextEncoderConfig,
    "`token_sampler`": config.TokenSamplerConfig,
    "`image_decoder`": config.ImageDecoderConfig,
    "`clip_scorer`": config.ClipScorerConfig,
    "`refiner`": config.RefinerConfig,
}


def shown(default: Any) -> str:
    if isinstance(default, BaseModel) or (isinstance(default, list) and default and isinstance(default[0], BaseModel)):
        return "below"
    if default is None or default == [] or default is PydanticUndefined:
        return "–"
    return f"`{', '.join(default) if isinstance(default, list) else default}`"


def setting_rows(settings: type[BaseModel]) -> list[str]:
    """A table row for each field that the class brings, or gives another default."""
    fields = {name: settings.model_fields[name] for name in settings.__annotations__ if name in settings.model_fields}
    return [f"| `{name}` | {shown(field.default)} | {field.description or ''} |" for name, field in fields.items()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_in_a_document_exists(document: Path):
    named = set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", document.read_text(), re.MULTILINE))
    assert named <= TARGETS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_in_a_document_leads_somewhere(document: Path):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("section", SETTINGS)
def test_every_setting_is_described_as_it_is(section: str):
    text = (ROOT / "docs/configuration.md").read_text()
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    body = dict(zip(parts[1::2], parts[2::2], strict=True))[section]
    described = [line for line in body.splitlines() if line.startswith("| `")]
    assert described == setting_rows(SETTINGS[section])


def test_every_source_file_has_its_line_in_the_design():
    design = (ROOT / "DESIGN.md").read_text()
    files = [path for folder in ("model_core", "deployments", "loadtest") for path in (ROOT / folder).rglob("*.py")]
    missing = [path.relative_to(ROOT).as_posix() for path in files if path.name != "__init__.py"]
    assert not [name for name in missing if f"`{name.rsplit('/', 1)[-1]}`" not in design]


def imports_of(path: Path) -> set[str]:
    """The modules that a file names in its imports, those inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_no_files_import_each_other_in_a_circle():
    paths = [path for folder in ("model_core", "deployments", "loadtest") for path in (ROOT / folder).rglob("*.py")]
    names = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in paths}
    left = {name.removesuffix(".__init__"): imports_of(path) for name, path in names.items()}
    left = {name: (imports & left.keys()) - {name} for name, imports in left.items()}

    def ends() -> set[str]:
        """What imports nothing that is left, or is imported by nothing that is."""
        return {name for name in left if not left[name] & left.keys()} | (left.keys() - set().union(*left.values()))

    while free := ends():
        for name in free:
            del left[name]
    assert not left, f"these import each other: {sorted(left)}"


def test_make_help_lists_every_target():
    listed = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout
    assert {line.split()[0] for line in listed.splitlines()} == TARGETS


def test_make_does_what_the_documents_say_by_default():
    assert ".DEFAULT_GOAL := check" in MAKEFILE
    assert re.search(r"^check: format-check lint types layers unit ", MAKEFILE, re.MULTILINE)


def test_the_lock_holds_versions_and_hashes_and_no_addresses():
    assert "://" not in LOCK
    requirements = re.findall(r"^(\S+)((?:.*\\\n)*.*)", LOCK, re.MULTILINE)
    pinned = {name: rest for name, rest in requirements if not name.startswith("#")}
    assert len(pinned) > 100
    assert not [name for name, rest in pinned.items() if "==" not in name or "--hash=sha256:" not in rest]


def test_the_lock_has_everything_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = project["dependencies"] + extras["train"] + extras["loadtest"] + extras["dev"]
    names = {re.split(r"[\[<>=]", name)[0].lower().replace("_", "-") for name in asked} - {"dalle-serve"}
    locked = set(re.findall(r"^([a-z0-9.-]+)(?:\[[a-z,]+\])?==", LOCK, re.MULTILINE))
    assert names <= locked
