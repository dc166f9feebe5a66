"""Stop sequences across the borders of tokens."""

from __future__ import annotations

import pytest

from secureai_appliance.inference.stops import StopMatcher


def run(stops: list[str], pieces: list[str]) -> tuple[list[str], bool]:
    matcher = StopMatcher(stops)
    shown = []
    for piece in pieces:
        safe, stopped = matcher.feed(piece)
        shown.append(safe)
        if stopped:
            return shown, True
    shown.append(matcher.flush())
    return shown, False


def test_text_without_stop_sequences_passes_at_once() -> None:
    assert run([], ["a", "b"]) == (["a", "b", ""], False)


def test_a_stop_sequence_over_three_pieces_is_met_and_never_shown() -> None:
    assert run(["STOP"], ["one S", "T", "OP two"]) == (["one ", "", ""], True)


def test_what_only_looked_like_a_stop_sequence_is_shown_after_all() -> None:
    assert run(["STOP"], ["one ST", "ONE"]) == (["one ", "STONE", ""], False)


def test_what_is_held_back_at_the_end_is_shown() -> None:
    assert run(["\n\n"], ["end\n"]) == (["end", "\n"], False)


def test_the_earliest_stop_sequence_wins() -> None:
    assert run(["world", "o"], ["hello world"]) == (["hell"], True)


@pytest.mark.parametrize("cut", range(1, 12))
def test_where_the_pieces_are_cut_makes_no_difference(cut: int) -> None:
    text = "aab aaab###tail"
    shown, stopped = run(["aaab#"], [text[:cut], text[cut:]])
    assert ("".join(shown), stopped) == ("aab ", True)


def test_a_repeating_stop_sequence_holds_back_its_longest_beginning() -> None:
    assert run(["abab"], ["xaba", "ac"]) == (["x", "abaac", ""], False)


def test_an_empty_stop_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        StopMatcher([""])
