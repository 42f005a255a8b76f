"""Models that rank, over tiny weights: the scores of the model card's own recipe, whoever shares the slice, and rows cut as asked."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from mlx_vlm.reranker_loader import load_sequence_classification_model
from mlx_vlm.utils import load_model

from app.engines.protocols import Frontend
from app.engines.ranking import RerankWork
from app.engines.registry import open_frontend
from app.engines.reranking_library import RerankerKind, kind_of
from app.errors import ContextTooLong, InferenceError, ModelLoadFailed, UnsupportedTask
from app.models.spec import ModelSpec, Task
from tests.conformance.driver import Run, run
from tests.conformance.subjects import Subject
from tests.tiny.files import write_json

JUDGE = "qwen3_reranker-f32"
PAIRS = ("bert_reranker-f32", "xlm_roberta_reranker-f32", "modernbert_reranker-f32")
QUERY = "What is the capital of France?"
TEXTS = [
    "The river rises north of the town.",
    "",
    "Paris is the capital of France, my friend. " * 7,
    "yes no",
    "日本語 😀 Straßen",
    "a " * 200,
]
# Word for word as the model card has it.
JUDGING = "Judge whether the Document meets the requirements based on the Query and the Instruct provided."
CARD = (
    f'<|im_start|>system\n{JUDGING} Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
    "<Instruct>: {}\n<Query>: {}\n<Document>: {}",
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
)
SEARCH = "Given a web search query, retrieve relevant passages that answer the query"


@pytest.fixture(params=[JUDGE, *PAIRS])
def reranker(request: pytest.FixtureRequest, subject_named: Callable[[str], Subject]) -> Subject:
    """Every family."""
    return subject_named(request.param)


def ranker(subject: Subject, **spec: Any) -> Frontend:  # noqa: ANN401
    return subject.frontend(**spec)


def work_of(frontend: Frontend, documents: list[Any], work_id: str = "w", **request: Any) -> RerankWork:  # noqa: ANN401
    work = frontend.prepare(work_id, "rerank", {"query": QUERY, "documents": documents, **request}, seed=1)
    assert isinstance(work, RerankWork)
    return work


def refusal(frontend: Frontend, documents: list[Any], **request: Any) -> InferenceError:  # noqa: ANN401
    with pytest.raises(InferenceError) as caught:
        work_of(frontend, documents, **request)
    return caught.value


def by_the_card(subject: Subject, texts: list[str], instruction: str = SEARCH) -> npt.NDArray[np.float32]:
    """The scores of pairs that are read one by one, without padding and without any code of ours."""
    tokenizer = subject.tokenizer
    if subject.name != JUDGE:
        model = cast("Any", load_sequence_classification_model(subject.directory))
        pairs = [tokenizer(QUERY, text, truncation=False, padding=False) for text in texts]
        return np.array([mx.sigmoid(model(**{name: mx.array([ids]) for name, ids in pair.items()}).logits[0, 0]).item() for pair in pairs])
    model = cast("Any", load_model(subject.directory))
    answers = [tokenizer.convert_tokens_to_ids(word) for word in ("no", "yes")]
    scores = []
    for text in texts:
        parts = (CARD[0], CARD[1].format(instruction, QUERY, text), CARD[2])
        ids = [token for part in parts for token in tokenizer.encode(part, add_special_tokens=False)]
        scores.append(mx.softmax(model(mx.array([ids])).logits[0, -1, answers])[1].item())
    return np.array(scores)


def test_scores_are_those_of_the_model_card_in_the_order_of_the_documents(reranker: Subject) -> None:
    documents = [text if place % 2 else {"text": text} for place, text in enumerate(TEXTS)]
    outcome = run(reranker.open(), work_of(ranker(reranker), documents))["w"]
    expected = by_the_card(reranker, TEXTS)
    assert outcome.scores.dtype == np.float32
    np.testing.assert_allclose(outcome.scores, expected, atol=1e-5)
    assert np.ptp(expected) > 0.05  # else any order would do
    reranker.close_all()


def test_a_document_has_the_same_score_alone_and_among_others_of_other_requests(reranker: Subject) -> None:
    frontend, engine = ranker(reranker), reranker.open()
    alone = [run(engine, work_of(frontend, [text]))["w"].scores[0] for text in TEXTS]
    works = [work_of(frontend, TEXTS[number:] + TEXTS[:number], f"w{number}") for number in range(4)]
    together = run(engine, *works)
    for number in range(4):
        np.testing.assert_allclose(together[f"w{number}"].scores, alone[number:] + alone[:number], atol=1e-5)
    reranker.close_all()


def test_an_instruction_is_part_of_the_question_where_the_model_takes_one(subject_named: Callable[[str], Subject]) -> None:
    judge = subject_named(JUDGE)
    outcome = run(judge.open(), work_of(ranker(judge), TEXTS[:2], instruction="Find recipes"))["w"]
    np.testing.assert_allclose(outcome.scores, by_the_card(judge, TEXTS[:2], "Find recipes"), atol=1e-5)
    judge.close_all()
    refused = refusal(ranker(subject_named(PAIRS[0])), TEXTS, instruction="Find recipes")
    assert (refused.code, refused.param) == ("invalid_request", "instruction")


def test_what_is_too_long_is_refused_by_its_place_unless_it_may_be_cut(reranker: Subject) -> None:
    frontend = ranker(reranker, context=300)
    long = "the river and the sea " * 200
    refused = refusal(frontend, ["short", long])
    assert isinstance(refused, ContextTooLong)
    assert refused.param == "documents.1"
    assert "max_tokens_per_doc" in refused.message
    cut = work_of(frontend, ["short", long, long], truncate_prompt_tokens=-1)
    assert [len(row) for row in cut.rows][1:] == [300, 300]
    closer = work_of(frontend, ["short", long], truncate_prompt_tokens=280)
    assert len(closer.rows[1]) == 280
    assert cut.rows[0] == closer.rows[0] == work_of(frontend, ["short"]).rows[0]


def test_each_document_is_read_so_far_and_no_further(reranker: Subject) -> None:
    frontend = ranker(reranker)
    frame = len(work_of(frontend, [""]).rows[0]) - (1 if reranker.name == JUDGE else 0)  # a space stands before the document
    documents = ["the river rises in the hills of the town 😀😀 " * 40, "the sea"]
    whole, short = work_of(frontend, documents).rows
    limited = work_of(frontend, documents, max_tokens_per_doc=9)
    assert [len(row) for row in limited.rows] == [frame + 9, len(short)]
    kept = len(limited.rows[0]) - (len(reranker.tokenizer.encode(CARD[2], add_special_tokens=False)) if reranker.name == JUDGE else 1)
    assert limited.rows[0][:kept] == whole[:kept]
    assert limited.rows[0][kept:] == whole[kept - len(limited.rows[0]) :]
    within = work_of(frontend, documents, max_tokens_per_doc=9, truncate_prompt_tokens=frame + 5)
    assert len(within.rows[0]) == frame + 5


def test_a_query_that_leaves_no_room_is_refused_and_so_is_a_limit(reranker: Subject) -> None:
    frontend = ranker(reranker, context=300)
    refused = refusal(frontend, TEXTS, query="the river and the sea " * 100, truncate_prompt_tokens=-1)
    assert (refused.code, refused.param) == ("context_length_exceeded", "query")
    for most, words in ((5, "leaves no room"), (301, "context is 300")):
        refused = refusal(frontend, TEXTS, truncate_prompt_tokens=most)
        assert (refused.code, refused.param) == ("invalid_request", "truncate_prompt_tokens")
        assert words in refused.message


def test_two_thousand_documents_are_ranked_in_bounded_memory_and_others_pass_between(subject_named: Callable[[str], Subject]) -> None:
    subject = subject_named(PAIRS[0])
    frontend, engine = ranker(subject), subject.open()
    documents = [f"{number} {'the sea ' * (number % 23)}" for number in range(2000)]
    peaks = []
    for count in (200, 2000):
        gc.collect()
        mx.clear_cache()
        mx.reset_peak_memory()
        one = Run(engine)
        one.add(work_of(frontend, documents[:count], "many"))
        for _ in range(3):
            one.step()
        one.add(work_of(frontend, documents[:2], "few"))
        while one.outcomes["few"].end is None:
            one.step()
        assert one.outcomes["many"].end is None
        assert one.finish()["many"].scores.shape == (count,)
        assert mx.get_cache_memory() <= 2**26
        peaks.append(mx.get_peak_memory())
    assert peaks[1] <= 1.5 * peaks[0]
    subject.close_all()


def test_only_what_ranks_is_taken_for_a_reranker(subject_named: Callable[[str], Subject]) -> None:
    classifies = ["BertForSequenceClassification"]
    assert kind_of({"model_type": "bert", "architectures": classifies}) is RerankerKind.CLASSIFIER
    assert kind_of({"model_type": "bert", "architectures": ["BertModel"]}) is None
    assert kind_of({"model_type": "qwen3", "architectures": ["Qwen3ForSequenceClassification"]}) is None
    assert kind_of({"model_type": "llama"}) is None
    for name, words in (("bert-f32", "cannot rank"), ("qwen3-f32", "no tokens 'yes' and 'no'")):
        directory = subject_named(name).directory
        with pytest.raises(ModelLoadFailed, match=words):
            open_frontend(ModelSpec(id="tiny", repo=str(directory), tasks=(Task.RERANK,)), directory)
    with pytest.raises(UnsupportedTask):
        ranker(subject_named(JUDGE)).prepare("w", "chat", {"messages": []}, seed=1)


def test_a_classifier_of_several_labels_fails_to_load_and_says_why(tmp_path: Path, subject_named: Callable[[str], Subject]) -> None:
    source = subject_named(PAIRS[0])
    for file in source.directory.iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = tmp_path / "config.json"
    config.unlink()
    write_json(config, {"model_type": "bert", "architectures": ["BertForSequenceClassification"], "id2label": {"0": "A", "1": "B"}})
    loading = open_frontend(ModelSpec(id="tiny", repo="tiny", tasks=(Task.RERANK,)), tmp_path).open()
    with pytest.raises(ModelLoadFailed, match="one output label"):
        list(loading)
