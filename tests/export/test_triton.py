"""Triton's model repository: its config says what the graph takes and answers."""

import json
from typing import Any

import pytest

from jaxft.cli import main
from jaxft.export import triton

onnxruntime = pytest.importorskip("onnxruntime")
descriptor_pb2: Any = pytest.importorskip("google.protobuf.descriptor_pb2")

# The fields of Triton's ModelConfig that are written here: name, number, type of protobuf.
STRING, INT32, INT64, ENUM, MESSAGE = 9, 5, 3, 14, 11
MESSAGES: dict[str, tuple[tuple[str, int, int, str], ...]] = {
    "ModelInput": (
        ("name", 1, STRING, ""),
        ("data_type", 2, ENUM, "DataType"),
        ("dims", 4, INT64, "*"),
    ),
    "ModelOutput": (
        ("name", 1, STRING, ""),
        ("data_type", 2, ENUM, "DataType"),
        ("dims", 3, INT64, "*"),
        ("label_filename", 4, STRING, ""),
    ),
    "ModelDynamicBatching": (),
    "ModelConfig": (
        ("name", 1, STRING, ""),
        ("platform", 2, STRING, ""),
        ("max_batch_size", 4, INT32, ""),
        ("input", 5, MESSAGE, "*ModelInput"),
        ("output", 6, MESSAGE, "*ModelOutput"),
        ("dynamic_batching", 11, MESSAGE, "ModelDynamicBatching"),
    ),
}
TYPES = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}


def config_class():
    """The class of Triton's ModelConfig, as far as MESSAGES knows it."""
    from google.protobuf import descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", syntax="proto3")
    kinds = file.enum_type.add(name="DataType")
    for number, name in ((0, "TYPE_INVALID"), (2, "TYPE_UINT8"), (11, "TYPE_FP32")):
        kinds.value.add(name=name, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, told in fields:
            more = {"type_name": f".{told.lstrip('*')}"} if kind in (ENUM, MESSAGE) else {}
            repeated = 3 if told.startswith("*") else 1
            message.field.add(name=field, number=number, type=kind, label=repeated, **more)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ModelConfig"))


def parsed(text):
    from google.protobuf import text_format

    return text_format.Parse(text, config_class()())


@pytest.fixture(scope="module", name="repository")
def _repository(finished, tmp_path_factory):
    import tiny_body

    from jaxft.models.registry import BODIES

    output = tmp_path_factory.mktemp("exported") / "repository"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BODIES, "tiny", tiny_body.body)
        line = f"export --workdir={finished} --to=onnx --layout=triton --output={output}"
        assert main.main(line.split()) == 0
    return output


def test_the_repository_is_laid_out_as_triton_looks_for_it(repository):
    files = {path.relative_to(repository).as_posix() for path in repository.rglob("*.*")}
    names = ("config.pbtxt", "labels.txt", "1/model.onnx")
    assert files == {"README.md", *(f"tiny/{name}" for name in names)}
    assert parsed((repository / "tiny" / "config.pbtxt").read_text()).name == "tiny"
    assert "tritonserver --model-repository=" in (repository / "README.md").read_text()


def test_the_config_and_the_graph_agree(repository):
    place = repository / "tiny"
    config = parsed((place / "config.pbtxt").read_text())
    session = onnxruntime.InferenceSession(place / "1" / "model.onnx")
    for told, found in (
        (config.input, session.get_inputs()),
        (config.output, session.get_outputs()),
    ):
        (one,), (value,) = told, found
        kind = type(one).DESCRIPTOR.fields_by_name["data_type"].enum_type
        assert one.name == value.name
        assert kind.values_by_number[one.data_type].name == TYPES[value.type]
        assert ["batch", *one.dims] == value.shape, "Triton adds the batch in front"
    assert (config.platform, config.max_batch_size) == ("onnxruntime_onnx", triton.MOST)
    assert config.HasField("dynamic_batching")
    (answers,) = config.output
    labels = (place / answers.label_filename).read_text().splitlines()
    about = session.get_modelmeta().custom_metadata_map
    assert labels == json.loads(about["classes"]) == ["blue", "green", "red"]


def test_a_class_takes_one_line_of_the_labels(repository, finished, tiny):
    from jaxft.export import opening

    subject = opening.of_run(finished)._replace(classes=("a\nb", "c  d", "e"))
    assert triton.labels(subject) == "a b\nc d\ne\n"


def test_the_layout_goes_with_onnx_alone(finished, tmp_path, capsys):
    line = f"export --workdir={finished} --to=onnx,timm --layout=triton --output={tmp_path}/out"
    assert main.main(line.split()) == 2
    assert "--layout=triton goes with --to=onnx" in capsys.readouterr().err
