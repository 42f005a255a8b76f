"""Of a repository's files those that make the model are fetched, and the weights that complete it come last."""

from __future__ import annotations

from app.models.repo_files import RepoFile, in_order, wanted


def _files(*paths: str) -> list[RepoFile]:
    return [RepoFile(path, 1, path) for path in paths]


def _kept(*paths: str) -> list[str]:
    return [file.path for file in wanted(_files(*paths))]


def test_the_same_weights_in_other_formats_and_what_is_no_model_are_left_out() -> None:
    model = [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer.model",
        "chat_template.jinja",
        "merges.txt",
        "1_Pooling/config.json",
    ]
    others = ["pytorch_model.bin", "model-Q4.gguf", "original/consolidated.00.pth", "onnx/model.onnx", "consolidated.safetensors"]
    rest = ["README.md", ".gitattributes", "LICENSE", "images/a.png", "modeling_x.py"]
    assert _kept(*model, *others, *rest) == model


def test_a_repository_without_safetensors_gives_nothing() -> None:
    assert _kept("config.json", "pytorch_model.bin", "model.gguf") == []


def test_a_model_is_whole_only_when_its_last_file_is_there() -> None:
    files = _files("model.safetensors", "speech_tokenizer/model.safetensors", "tokenizer.json", "config.json")
    assert [[file.path for file in group] for group in in_order(files)] == [
        ["config.json"],
        ["tokenizer.json"],
        ["speech_tokenizer/model.safetensors"],
        ["model.safetensors"],
    ]


def test_of_a_voice_its_codec_is_fetched_too_and_before_what_makes_it_whole() -> None:
    voice = [
        "config.json",
        "generation_config.json",
        "merges.txt",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "preprocessor_config.json",
        "speech_tokenizer/config.json",
        "speech_tokenizer/configuration.json",
        "speech_tokenizer/model.safetensors",
        "speech_tokenizer/preprocessor_config.json",
        "tokenizer_config.json",
        "vocab.json",
    ]
    assert _kept(*voice, "README.md", ".gitattributes") == voice
    last = [group[0].path for group in in_order(_files(*voice))][-2:]
    assert last == ["speech_tokenizer/model.safetensors", "model-00001-of-00002.safetensors"]
