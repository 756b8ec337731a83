"""Every format reads its own sample, is told from the others, and says what is wrong and where."""

import json

import pytest

from datasets.formats import FORMATS, detect
from datasets.formats.base import MAX_TURNS, SAMPLES, Conversation, RowError, cut, texts, turns
from datasets.models import RowType
from datasets.problems import KINDS, TYPES
from datasets.reading import Record, records


def read_sample(format_) -> list[Record]:
    with (SAMPLES / format_.sample).open("rb") as file:
        return list(records(file, format_.sample))


@pytest.fixture(params=FORMATS.values(), ids=FORMATS)
def format_(request):
    return request.param


KEYS = {
    RowType.MESSAGES: {"messages"},
    RowType.IMAGE_CAPTION: {"image", "prompt"},
    RowType.IMAGE_MESSAGES: {"image", "messages"},
    RowType.PREFERENCE: {"messages", "chosen", "rejected"},
    RowType.BINARY_PREFERENCE: {"messages", "completion", "label"},
    RowType.RANKED: {"messages", "responses"},
    RowType.TEXT: {"text"},
}


def test_it_reads_its_sample_into_rows_of_its_type(format_) -> None:
    rows = [format_.row(record.value) for record in read_sample(format_)]
    assert len(rows) >= 2
    for row in rows:
        assert set(row) == KEYS[format_.row_type]
        assert all(text.strip() for text in texts(row))
        roles = [message["role"] for message in row.get("messages", ()) if message["role"] != "system"]
        expected = ["user", "assistant"] * len(roles)
        assert roles == expected[: len(roles)]


def test_every_kind_of_rows_has_a_format() -> None:
    assert {format_.row_type for format_ in FORMATS.values()} == set(RowType)


def test_it_is_detected_from_its_sample(format_) -> None:
    assert detect([record.value for record in read_sample(format_)]) is format_


def test_nothing_is_detected_in_strange_data() -> None:
    assert detect([{"words": "a"}, 3, None, [[]], []]) is None


def test_most_of_the_head_decides() -> None:
    assert detect([{"instruction": "a"}, {"messages": []}, {"messages": []}]).key == "messages"


def row(key: str, record: object) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in FORMATS[key].row(record)["messages"]]


@pytest.mark.parametrize("record", [
    {"kind": "NLI", "input": "p", "target": "r"}, {"input": "p", "output": "r"}, {"question": "p", "answer": "r"},
    {"problem": "p", "solution": "r"}, {"source": "s", "conversation": [{"input": "p", "output": "r"}]},
])  # fmt: skip
def test_other_names_of_a_question_and_its_reply(record: dict) -> None:
    assert detect([record]).key == "prompt_response"
    assert row("prompt_response", record) == [("user", "p"), ("assistant", "r")]


@pytest.mark.parametrize("key", ["conversations", "data"])
def test_texts_in_turn_are_a_conversation(key: str) -> None:
    record = {"id": "1", key: ["p", "r", "q", "s"]}
    assert detect([record]).key == "sharegpt"
    assert row("sharegpt", record) == [("user", "p"), ("assistant", "r"), ("user", "q"), ("assistant", "s")]
    with pytest.raises(RowError) as raised:
        FORMATS["sharegpt"].row({key: ["p", "r", "q"]})
    assert raised.value.kind == "unlabelled"


def test_a_conversation_may_be_one_text() -> None:
    """Guanaco; and Glaive's calls of functions."""
    record = {"text": "### Human: Hi### Assistant: Hello.\nMore?### Human: No### Assistant: Bye."}
    assert detect([record]).key == "sharegpt"
    assert row("sharegpt", record)[1:3] == [("assistant", "Hello.\nMore?"), ("user", "No")]
    chat = (
        'USER: Weather?\n\n\nASSISTANT: <functioncall> {"name": "f"} <|endoftext|>\n\n\n'
        'FUNCTION RESPONSE: {"t": 3}\n\n\nASSISTANT: It is 3. USER: is a word. <|endoftext|>\n\n\n'
    )
    record = {"system": "SYSTEM: You have functions.", "chat": chat}
    assert detect([record]).key == "sharegpt"
    assert row("sharegpt", record) == [
        ("system", "You have functions."),
        ("user", "Weather?"),
        ("assistant", '<tool_call>\n{"name": "f"}\n</tool_call>'),
        ("user", '<tool_response>\n{"t": 3}\n</tool_response>'),
        ("assistant", "It is 3. USER: is a word."),
    ]
    assert detect([{"text": "Human: a plain text"}]).key == "text"


@pytest.mark.parametrize("as_text", [False, True])
def test_a_question_may_be_answered_by_calls(as_text: bool) -> None:
    tools, calls = [{"name": "f"}], [{"name": "f", "arguments": {"x": "一"}}, {"name": "f", "arguments": {}}]
    record = {"query": "q", "tools": tools, "answers": calls}
    if as_text:
        record |= {"tools": json.dumps(tools), "answers": json.dumps(calls)}
    assert detect([record]).key == "prompt_response"
    assert row("prompt_response", record) == [
        ("system", '<tools>\n[{"name": "f"}]\n</tools>'),
        ("user", "q"),
        (
            "assistant",
            '<tool_call>\n{"name": "f", "arguments": {"x": "一"}}\n</tool_call>\n'
            '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>',
        ),
    ]


def test_preferences_may_be_conversations_in_one_text() -> None:
    """As in Anthropic's HH-RLHF."""
    start = "\n\nHuman: Hi\n\nAssistant: Hello\nthere.\n\nHuman: Who won?\n\nAssistant:"
    record = {"chosen": f"{start} I do not know.", "rejected": f"{start} You."}
    assert detect([record]).key == "dpo"
    assert FORMATS["dpo"].row(record) == {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello\nthere."},
            {"role": "user", "content": "Who won?"},
        ],
        "chosen": "I do not know.",
        "rejected": "You.",
    }
    with pytest.raises(RowError) as raised:
        FORMATS["dpo"].row({**record, "rejected": "\n\nHuman: Other\n\nAssistant: You."})
    assert raised.value.kind == "questions_differ"


def test_moss_keeps_calls_and_results_as_marked_turns() -> None:
    records_ = [record.value for record in read_sample(FORMATS["moss"])]
    assert row("moss", records_[0])[:2] == [
        ("system", "You are an AI assistant whose name is MOSS.\n"),
        ("user", "如何保障工作中遵循正确的安全准则？"),
    ]
    assert row("moss", records_[1])[1:3] == [
        ("assistant", '<tool_call>\nCalculate("12 * 12")\n</tool_call>'),
        ("user", "<tool_response>\n144\n</tool_response>"),
    ]


def test_a_bare_object_is_one_turn() -> None:
    assert row("prompt_response", {"prompt": "p", "response": "r"}) == [("user", "p"), ("assistant", "r")]


def test_the_older_nested_response_is_unwrapped() -> None:
    assert row("prompt_response", [{"prompt": "p", "response": [["r"]]}])[1] == ("assistant", "r")


def test_weights_are_kept_on_replies() -> None:
    turns_ = [{"prompt": "a", "response": "b", "weight": 0}, {"prompt": "c", "response": "d"}]
    messages = FORMATS["prompt_response"].row(turns_)["messages"]
    assert [message.get("weight") for message in messages] == [None, 0, None, None]


def test_alpaca_joins_instruction_and_input_after_the_history() -> None:
    record = {"instruction": "i", "input": "n", "output": "o", "system": "s", "history": [["q", "a"]]}
    assert row("alpaca", record) == [
        ("system", "s"), ("user", "q"), ("assistant", "a"), ("user", "i\nn"), ("assistant", "o"),
    ]  # fmt: skip


def test_sharegpt_keeps_calls_and_results_as_marked_turns() -> None:
    record = {
        "tools": '[{"name": "f"}]',
        "conversations": [
            {"from": "human", "value": "h"},
            {"from": "function_call", "value": "{}"},
            {"from": "observation", "value": "3"},
            {"from": "gpt", "value": "g"},
        ],
    }
    assert row("sharegpt", record) == [
        ("system", '<tools>\n[{"name": "f"}]\n</tools>'),
        ("user", "h"),
        ("assistant", "<tool_call>\n{}\n</tool_call>"),
        ("user", "<tool_response>\n3\n</tool_response>"),
        ("assistant", "g"),
    ]


def test_openai_calls_become_one_reply_with_the_text_before_them() -> None:
    call = {"function": {"name": "f", "arguments": '{"x": 1}'}}
    record = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "u"}]},
            {"role": "assistant", "content": "wait", "tool_calls": [call, call], "weight": 1},
            {"role": "tool", "content": "1"},
            {"role": "tool", "content": "2"},
            {"role": "assistant", "content": "done"},
        ]
    }
    text = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
    assert row("messages", record)[1:3] == [
        ("assistant", f"wait\n{text}\n{text}"),
        ("user", "<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>"),
    ]


def said(role: str, content: object = "x", **more: object) -> dict:
    return {"role": role, "content": content, **more}


WRONG = [
    ("prompt_response", 3, "", "wrong_type"),
    ("prompt_response", [], "", "empty_list"),
    ("prompt_response", [{"prompt": "p"}], "[0].response", "missing"),
    ("prompt_response", [{"prompt": " ", "response": "r"}], "[0].prompt", "empty"),
    ("kto", {"prompt": "p", "completion": "", "label": True}, "completion", "empty"),
    ("dpo", {"prompt": "p", "chosen": "", "rejected": "r"}, "chosen", "empty"),
    (
        "sorted_responses",
        [{"prompt": "p", "response": [["a"], ["b"]], "score": [1, 1e999]}],
        "[0].score[1]",
        "not_finite",
    ),
    (
        "dpo",
        {"chosen": [{"role": "user", "content": "a"}, {}], "rejected": [{"role": "user"}, {}]},
        "chosen[1].role",
        "missing",
    ),
    ("prompt_response", [{"prompt": 1, "response": "r"}], "[0].prompt", "wrong_type"),
    ("prompt_response", [{"prompt": "p", "response": [["a"], ["b"]]}], "[0].response", "ranked_responses"),
    ("prompt_response", [{"prompt": "p", "response": "r", "weight": 2}], "[0].weight", "invalid_weight"),
    ("prompt_response", [{"prompt": "p", "response": "r", "weight": True}], "[0].weight", "invalid_weight"),
    ("prompt_response", [{"prompt": "p", "response": "r", "weight": [1]}], "[0].weight", "invalid_weight"),
    ("prompt_response", [{"prompt": "p", "response": "r", "weight": 0}], "", "nothing_to_learn"),
    ("prompt_response", {"prompt": "a\0", "response": "r"}, "prompt", "nul_character"),
    (
        "prompt_response",
        [{"prompt": "p", "response": "r"}, {"system": "s", "prompt": "p", "response": "r"}],
        "[1].system",
        "system_not_first",
    ),
    ("messages", {"messages": {}}, "messages", "wrong_type"),
    ("messages", {"messages": []}, "messages", "empty_list"),
    ("messages", {"messages": [said("user")]}, "messages", "unlabelled"),
    ("messages", {"messages": [said("system")]}, "messages", "unlabelled"),
    ("messages", {"messages": [said("assistant")]}, "messages[0].content", "starts_with_reply"),
    ("messages", {"messages": [said("user"), said("user")]}, "messages[1].content", "roles_alternate"),
    ("messages", {"messages": [said("user"), said("system")]}, "messages[1].content", "system_not_first"),
    ("messages", {"messages": [said("robot")]}, "messages[0].role", "unknown_role"),
    ("messages", {"messages": [said([])]}, "messages[0].role", "wrong_type"),
    ("messages", {"messages": [said("user", None)]}, "messages[0].content", "missing"),
    (
        "messages",
        {"messages": [said("user", [{"type": "image_url"}])]},
        "messages[0].content[0]",
        "image_row",
    ),
    ("messages", {"messages": [None]}, "messages[0]", "wrong_type"),
    ("messages", {"messages": [said("user"), said("assistant")], "label": False}, "label", "preference_row"),
    ("messages", {"messages": [said("user"), said("assistant")], "images": ["1.jpg"]}, "images", "image_row"),
    ("alpaca", {"instruction": "i", "output": None}, "output", "missing"),
    ("alpaca", {"instruction": "", "input": "", "output": "o"}, "instruction", "empty"),
    ("alpaca", {"instruction": "i", "output": "o", "history": [["q"]]}, "history[0]", "not_a_pair"),
    ("alpaca", {"instruction": "i", "output": "o", "history": ""}, "history", "wrong_type"),
    (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "h"}], "chosen": {}},
        "chosen",
        "preference_row",
    ),
    ("sharegpt", {"conversations": [{"from": "human"}]}, "conversations[0].value", "missing"),
    ("sharegpt", {"conversations": [{"from": "cat", "value": "h"}]}, "conversations[0].from", "unknown_role"),
    ("sharegpt", {"conversations": []}, "conversations", "empty_list"),
    ("image_caption", {"image": "1.png"}, "prompt", "missing"),
    ("image_caption", {"prompt": "p"}, "image", "missing"),
    ("dpo_turns", [{"user": "u", "chosen": "a"}], "[0].rejected", "missing"),
    ("dpo_turns", [{"user": "u", "chosen": "a", "rejected": "a"}], "[0].rejected", "same_replies"),
    ("dpo_turns", [{"user": "u"}, {"user": "u", "chosen": "a", "rejected": "b"}], "[0].assistant", "missing"),
    (
        "dpo",
        {"prompt": "p", "chosen": {"role": "user", "content": "a"}, "rejected": "b"},
        "chosen.role",
        "not_a_reply",
    ),
    (
        "dpo",
        {"chosen": [said("user"), said("assistant")], "rejected": [said("assistant")]},
        "rejected",
        "questions_differ",
    ),
    (
        "dpo",
        {"messages": [said("user"), said("assistant")], "chosen": "a", "rejected": "b"},
        "messages",
        "no_question",
    ),
    ("kto_turns", [{"user": "u", "chosen": "a", "rejected": "b"}], "[0]", "one_of_two"),
    ("kto", {"messages": [said("user"), said("assistant")], "label": "yes"}, "label", "wrong_type"),
    ("kto", {"messages": [said("user")], "label": True}, "messages", "unlabelled"),
    (
        "sorted_responses",
        [{"prompt": "p", "response": [["a"]], "score": [1]}],
        "[0].response",
        "scores_differ",
    ),
    (
        "sorted_responses",
        [{"prompt": "p", "response": [["a"], [""]], "score": [1, 2]}],
        "[0].response[1]",
        "empty",
    ),
    (
        "sorted_responses",
        [{"prompt": "p", "response": [["a"], ["b"]], "score": [1, "2"]}],
        "[0].score[1]",
        "wrong_type",
    ),
    ("text", {"text": ""}, "text", "empty"),
]


TURN = [said("user", "q")]
A, B = said("assistant", "a"), said("assistant", "b")


@pytest.mark.parametrize("record", [
    {
        "conversations": [{"from": "human", "value": "q"}],
        "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"},
    },
    {"messages": TURN, "chosen": A, "rejected": B},
    {"prompt": "q", "chosen": "a", "rejected": "b"},
    {"prompt": TURN, "chosen": [A], "rejected": [B]},
    {"prompt": "q", "chosen": [*TURN, A], "rejected": [*TURN, B]},
    {"chosen": [*TURN, A], "rejected": [*TURN, B]},
    {"instruction": "q", "input": "", "chosen": "a", "rejected": "b"},
    [{"user": "q", "chosen": "a", "rejected": "b"}],
    [{"prompt": "q", "chosen": [["a"]], "rejected": [["b"]]}],
])  # fmt: skip
def test_preferences_of_public_data_in_every_spelling(record: object) -> None:
    format_ = detect([record])
    assert format_.row(record) == {"messages": TURN, "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize("record", [
    {"messages": [*TURN, B], "label": False},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "b"}], "kto_tag": False},
    {"prompt": "q", "completion": "b", "label": False},
    [{"user": "q", "rejected": "b"}],
])  # fmt: skip
def test_judged_replies_in_every_spelling(record: object) -> None:
    assert detect([record]).row(record) == {"messages": TURN, "completion": "b", "label": False}


def test_sorted_responses_keep_their_scores() -> None:
    record = [
        {"prompt": "p", "response": "r"},
        {"prompt": "q", "response": [["a"], ["b"]], "score": [2, 0.5]},
    ]
    assert detect([record]).row(record)["responses"] == [
        {"content": "a", "score": 2},
        {"content": "b", "score": 0.5},
    ]


@pytest.mark.parametrize(("key", "record", "field", "kind"), WRONG)
def test_a_wrong_record_is_named_with_its_field(key: str, record: object, field: str, kind: str) -> None:
    with pytest.raises(RowError) as caught:
        FORMATS[key].row(json.loads(json.dumps(record)))
    assert (caught.value.field, caught.value.kind) == (field, kind)
    # The sentence fits the parameters.
    assert str(KINDS[kind].message) % {name: TYPES.get(v, v) for name, v in caught.value.params.items()}


def test_turns_beyond_the_limit_are_cut_and_counted() -> None:
    conversation = Conversation()
    conversation.system("s", "")
    for _turn in range(MAX_TURNS + 2):
        conversation.user("u", "")
        conversation.assistant("a", "")
    row_ = conversation.row("")
    assert cut(row_) == MAX_TURNS + 2
    assert (turns(row_), row_["messages"][-1]["role"]) == (MAX_TURNS, "assistant")


def test_of_joined_replies_the_learned_one_decides() -> None:
    conversation = Conversation()
    conversation.user("u", "")
    conversation.assistant("a", "", weight=0)
    conversation.assistant("call", "", tool=True)
    assert conversation.messages[-1]["weight"] == 1


ASKED, SAID = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
WORSE = {"role": "assistant", "content": "b"}
# Records as well-known public datasets have them, and the format that they are recognised as.
PUBLIC = {
    "dolly": ({"instruction": "q", "context": "", "response": "a", "category": "qa"}, "alpaca"),
    "question and answer": ({"question": "q", "answer": "a"}, "prompt_response"),
    "query with history": ({"query": "q", "response": "a", "history": []}, "prompt_response"),
    "prompt and completion of TRL": ({"prompt": [ASKED], "completion": [SAID]}, "prompt_response"),
    "messages beside their prompt": ({"prompt": "q", "prompt_id": "1", "messages": [ASKED, SAID]}, "messages"),
    "role and content in conversations": ({"conversations": [ASKED, SAID]}, "sharegpt"),
    "preferences that are whole conversations": (
        {"prompt": "q", "messages": [ASKED, SAID], "chosen": [ASKED, SAID], "rejected": [ASKED, WORSE]}, "dpo",
    ),
    "preferences with a question": ({"system": "", "question": "q", "chosen": "a", "rejected": "b"}, "dpo"),
    "judged completions of TRL": ({"prompt": [ASKED], "completion": [SAID], "label": False}, "kto"),
    "visual questions": ({"image": b"x", "question": "q", "answer": "a"}, "prompt_image_response"),
    "crawled text": ({"text": "t", "id": "1", "url": "u", "dump": "d", "token_count": 5}, "text"),
}  # fmt: skip


@pytest.mark.parametrize(("record", "key"), PUBLIC.values(), ids=PUBLIC)
def test_public_data_are_taken_as_they_are(record: dict[str, object], key: str) -> None:
    assert detect([record]).key == key
    row_ = FORMATS[key].row(record)
    assert [text.removeprefix("<image>\n") for text in texts(row_)][:2] in (["q", "a"], ["t"])


def test_a_text_with_a_label_is_no_plain_text() -> None:
    assert detect([{"text": "great!", "label": 1}]) is None


def test_what_is_marked_as_a_tool_s_already_is_not_marked_twice() -> None:
    said = [("system", "<tools>[]</tools>"), ("human", "q"), ("gpt", "<tool_call>\n{}\n</tool_call>")]
    said += [("tool", "<tool_response>\n1\n</tool_response>"), ("gpt", "a")]
    record = {
        "conversations": [{"from": who, "value": text} for who, text in said],
        "tools": '[{"name": "w"}]',
    }
    assert [text for _role, text in row("sharegpt", record)] == [text for _who, text in said]


def test_a_system_text_beside_the_messages_comes_first() -> None:
    record = {"system": "s", "messages": [ASKED, SAID], "tools": [{"name": "w"}]}
    assert row("messages", record)[0] == ("system", 's\n\n<tools>\n[{"name": "w"}]\n</tools>')


@pytest.mark.parametrize("images", ["a.png", 7, {"path": "a.png"}])
def test_pictures_beside_parts_count_whatever_they_are(images: object) -> None:
    parts = [{"type": "image_url", "image_url": {"url": "b.png"}}, {"type": "text", "text": "q"}]
    record = {"images": images, "messages": [{"role": "user", "content": parts}, SAID]}
    with pytest.raises(RowError) as caught:
        FORMATS["prompt_image_response"].row(record)
    assert (caught.value.kind, caught.value.params) == ("several_pictures", {"count": 2})
