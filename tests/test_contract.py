"""A package is trusted by its digests, and refused in words."""

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract import (
    Manifest,
    PackageError,
    read_manifest,
    read_package,
    read_verified,
    sha256_of,
    write_package,
)
from tests.packages import write_tiny_gan


@pytest.fixture
def package(tmp_path):
    return write_tiny_gan(tmp_path)


def edit(package, change):
    file = package / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


def test_what_is_written_reads_back_the_same(package):
    manifest = read_package(package)
    assert manifest.id == "tiny-gan@1"
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_capabilities_follow_from_the_functions(package):
    manifest = read_package(package)
    assert manifest.capabilities == (
        "sample", "interpolate", "inpaint", "score", "encode", "reconstruct",
    )  # fmt: skip
    lone = manifest.model_copy(
        update={"functions": {"generate": manifest.functions["generate"]}, "scores": ()}
    )
    assert lone.capabilities == ("sample", "interpolate")


def test_the_digest_covers_what_decides_an_answer_and_no_words(package):
    manifest = read_package(package)
    reworded = manifest.model_copy(update={"description": "other words", "provenance": {"a": 1}})
    retrained = manifest.model_copy(
        update={"functions": {"generate": manifest.functions["encode"]}, "scores": ()}
    )
    assert reworded.digest == manifest.digest
    assert retrained.digest != manifest.digest


def test_one_flipped_byte_is_found(package):
    file = package / "generate.onnx"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(PackageError, match=r"generate\.onnx has sha256"):
        read_package(package)


def test_a_missing_file_is_named(package):
    (package / "encode.onnx").unlink()
    with pytest.raises(PackageError, match=r"encode\.onnx is named in manifest\.json"):
        read_package(package)


def test_a_package_in_another_models_folder_is_refused(package):
    other = package.parent.parent / "other" / "1"
    shutil.copytree(package, other)
    with pytest.raises(PackageError, match="says tiny-gan@1, but the folder is other/1"):
        read_package(other)


@pytest.mark.parametrize("name", ["../secret", "a/b", "..", "/etc/passwd", "a\\b"])
def test_file_names_cannot_lead_out_of_the_package(package, name):
    with pytest.raises(PackageError):
        read_verified(package, name, "0" * 64)
    edit(package, lambda m: m["functions"]["generate"].update(file=name))
    with pytest.raises(PackageError, match=r"manifest\.json: functions/generate/file"):
        read_package(package)


def test_a_link_out_of_the_package_is_refused(package):
    outside = package.parent.parent / "outside.onnx"
    (package / "generate.onnx").rename(outside)
    (package / "generate.onnx").symlink_to(outside)
    with pytest.raises(PackageError, match="link that leads out"):
        read_package(package)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.pop("functions"), "functions: Field required"),
        (lambda m: m.update(schema_version=2), "schema_version"),
        (lambda m: m.update(name="No Such Name"), "name"),
        (lambda m: m.update(surprise=1), "surprise: Extra inputs are not permitted"),
        (lambda m: m["functions"].pop("latent_start"), "names 'latent_start', which is not there"),
        (lambda m: m.update(latent=None), "no 'latent' prior"),
        (lambda m: m["scores"][0].update(output="other"), "names an output that is not there"),
        (lambda m: m["data"].update(shape=[2, 4, 4]), "is not .1 or 3"),
        (
            lambda m: m["functions"]["latent_step"]["inputs"][0].update(dtype="uint8"),
            "state outputs must match its state inputs",
        ),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused_with_the_reason(package, change, reason):
    edit(package, change)
    with pytest.raises(PackageError, match=reason):
        read_manifest(package)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_manifest_reader_fail_otherwise(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("m")
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(PackageError):
        read_manifest(folder)


def test_writing_refuses_contents_that_are_not_the_manifests(package, tmp_path):
    manifest = read_package(package)
    contents = {f.name: f.read_bytes() for f in package.iterdir() if f.name != "manifest.json"}
    contents["generate.onnx"] = b"other"
    with pytest.raises(PackageError, match=r"generate\.onnx is not what the manifest says"):
        write_package(tmp_path / "new", manifest, contents)
    assert not (tmp_path / "new").exists()


def test_writing_again_replaces_the_package_whole(package):
    store = package.parent.parent
    (package / "left-over").write_text("old")
    assert write_tiny_gan(store) == package
    assert not (package / "left-over").exists()
    assert read_package(package)


def test_sha256_is_that_of_the_standard():
    assert sha256_of(b"").startswith("e3b0c44298fc1c14")
