"""Where each value of a configuration comes from."""

import pytest
import yaml

from gandalf.config.origins import origins


def origins_of(text, managed=()):
    return origins(yaml.compose(text, yaml.SafeLoader), managed)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("a:\n  b: 1\n", {"a.b": "file:2"}),
        ("a:\n- b: 1\n- b: 2\n", {"a[0].b": "file:2", "a[1].b": "file:3"}),
        ("a: [1, 2]", {"a[0]": "file:1", "a[1]": "file:1"}),
        ("a: ${A}", {"a": "environment:A"}),
        ("a: x${A:-1}y${B}${A}", {"a": "environment:A,B"}),
        ("a: $${A}", {"a": "file:1"}),
    ],
)
def test_a_value_is_of_a_line_or_of_a_variable(text, found):
    assert origins_of(text) == found


def test_a_managed_object_is_told_as_a_whole():
    assert origins_of("a:\n- b: 1\n- b: ${X}\n", ["a[1]"]) == {
        "a[0].b": "file:2",
        "a[1]": "managed",
    }


def test_a_merged_value_has_its_own_line_unless_it_is_overridden():
    text = "x: &x {b: 1, c: 2}\na:\n  c: 3\n  <<: *x\n"

    found = origins_of(text)

    assert (found["a.b"], found["a.c"]) == ("file:1", "file:3")
