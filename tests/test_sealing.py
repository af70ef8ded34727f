import base64
import re

import pytest

from gandalf.config import ConfigError
from gandalf.config.merge import load_merged
from gandalf.config.sealing import CannotOpen, MasterKeys, Place, master_keys
from gandalf.domain.managed import Kind, ManagedObject
from gandalf.reloading import without_faults

SECRET = "sk-the-secret-of-the-tests"
PLACE = Place(Kind.PROVIDER, "up", "api_key")
ONE, TWO = bytes(range(32)), bytes(range(1, 33))


def encoded(key):
    return base64.b64encode(key).decode()


def test_what_is_sealed_is_opened_by_the_same_key_at_the_same_place():
    keys = MasterKeys({"a": ONE})

    sealed = keys.seal(SECRET, PLACE)

    assert keys.open(sealed, PLACE) == SECRET
    assert re.fullmatch(r"v1\.a\.[\w-]{16}\.[\w-]+", sealed)
    assert SECRET not in sealed
    assert keys.seal(SECRET, PLACE) != sealed


@pytest.mark.parametrize(
    "place",
    [
        Place(Kind.PROVIDER, "other", "api_key"),
        Place(Kind.PROVIDER, "up", "auth.api_key"),
        Place(Kind.ROUTE, "up", "api_key"),
        Place(Kind.PROVIDER, "u", "papi_key"),
    ],
)
def test_a_sealed_secret_cannot_be_moved(place):
    keys = MasterKeys({"a": ONE})

    with pytest.raises(CannotOpen, match="was changed"):
        keys.open(keys.seal(SECRET, PLACE), place)


def test_a_missing_key_and_another_key_of_the_same_id_are_told_apart():
    sealed = MasterKeys({"a": ONE}).seal(SECRET, PLACE)

    with pytest.raises(CannotOpen, match="'a', which GANDALF_MASTER_KEY does not have"):
        MasterKeys({"b": TWO}).open(sealed, PLACE)
    with pytest.raises(CannotOpen, match="another key of this id"):
        MasterKeys({"a": TWO}).open(sealed, PLACE)


@pytest.mark.parametrize("cut", [slice(0, -4), slice(4, None)])
def test_a_changed_text_is_not_opened(cut):
    keys = MasterKeys({"a": ONE})
    head, _, ciphertext = keys.seal(SECRET, PLACE).rpartition(".")

    with pytest.raises(CannotOpen):
        keys.open(f"{head}.{ciphertext[cut]}", PLACE)


def test_the_first_key_seals_and_all_open():
    old = MasterKeys({"2025": ONE}).seal(SECRET, PLACE)
    keys = master_keys(
        {"GANDALF_MASTER_KEY": f"2026:{encoded(TWO)}, 2025:{encoded(ONE)}"}
    )

    assert keys.newest == "2026"
    assert keys.seal(SECRET, PLACE).startswith("v1.2026.")
    assert keys.open(old, PLACE) == SECRET


def test_a_key_without_an_id_has_one_of_its_own(tmp_path):
    file = tmp_path / "key"
    file.write_text(f"{encoded(TWO)}\n{encoded(ONE)}\n")
    old = master_keys({"GANDALF_MASTER_KEY": encoded(ONE)})

    both = master_keys({"GANDALF_MASTER_KEY_FILE": str(file)})

    assert both.newest != old.newest
    assert both.open(old.seal(SECRET, PLACE), PLACE) == SECRET
    assert encoded(ONE) not in repr(both)


def test_without_a_master_key_there_are_none():
    assert not master_keys({})
    assert not master_keys({"GANDALF_MASTER_KEY": ""})


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"GANDALF_MASTER_KEY": "hunter2"}, "expected 32 bytes in base64"),
        ({"GANDALF_MASTER_KEY": encoded(ONE[:31])}, "expected 32 bytes in base64"),
        ({"GANDALF_MASTER_KEY": f"a.b:{encoded(ONE)}"}, "expected 32 bytes in base64"),
        (
            {"GANDALF_MASTER_KEY": f"a:{encoded(ONE)},a:{encoded(TWO)}"},
            "has two keys with the id 'a'",
        ),
        ({"GANDALF_MASTER_KEY_FILE": "/nowhere"}, "No such file"),
        (
            {"GANDALF_MASTER_KEY": encoded(ONE), "GANDALF_MASTER_KEY_FILE": "/x"},
            "set one of them",
        ),
    ],
    ids=str,
)
def test_a_wrong_master_key_is_told_without_its_text(environ, told):
    with pytest.raises(ConfigError, match=re.escape(told)) as caught:
        master_keys(environ)

    assert "hunter2" not in str(caught.value)
    assert encoded(ONE)[:12] not in str(caught.value)


# In the configuration.


def managed(**spec):
    return ManagedObject(
        kind=Kind.PROVIDER,
        name="up",
        spec={"name": "up", "type": "openai", **spec},
        version=1,
        created_at=0.0,
        updated_at=0.0,
    )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "gandalf.yaml"
    path.write_text("")
    return path


@pytest.mark.parametrize(
    "secret", [SECRET, "${HOME}$$", "$HOME", "!file:/etc/x", "file:/etc/x"]
)
def test_a_sealed_secret_is_opened_to_the_letter(file, secret):
    sealed = MasterKeys({"a": ONE}).seal(secret, PLACE)
    environ = {"GANDALF_MASTER_KEY": f"a:{encoded(ONE)}", "HOME": "/root"}

    merged = load_merged(file, environ, [managed(api_key=sealed)])

    assert merged.config.providers[0].api_key.reveal() == secret


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "the master key 'a', which GANDALF_MASTER_KEY does not have"),
        ({"GANDALF_MASTER_KEY": f"a:{encoded(TWO)}"}, "another key of this id"),
    ],
)
def test_a_missing_or_wrong_master_key_refuses_all_and_names_each_object(
    file, environ, told
):
    sealed = MasterKeys({"a": ONE}).seal(SECRET, PLACE)
    nested = MasterKeys({"a": ONE}).seal(SECRET, PLACE._replace(field="auth.api_key"))

    # Other faults of managed objects do not stop a start: it leaves those out.
    with pytest.raises(ConfigError) as caught:
        without_faults(
            lambda objects: load_merged(file, environ, objects),
            [managed(api_key=sealed, auth={"api_key": nested})],
        )

    text = str(caught.value)
    assert "providers/up: api_key: " in text
    assert "providers/up: auth.api_key: " in text
    assert told in text
    assert sealed.rpartition(".")[2] not in text


# Files.


def test_a_secret_of_the_file_may_stand_in_another_file(file, tmp_path):
    (tmp_path / "key").write_text(f"{SECRET}\n")
    file.write_text("providers: [{name: openai, api_key: !file '${DIRECTORY}/key'}]\n")

    merged = load_merged(file, {"DIRECTORY": str(tmp_path)}, [])

    assert merged.config.providers[0].api_key.reveal() == SECRET


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("api_key: !file /nowhere/at/all", "the file cannot be read: No such file"),
        ("api_key: !file /dev/zero", "over 65536 characters"),
        ("api_key: !file /dev/null", "the file is empty"),
        ("api_key: !file [a]", "expected the path of a file"),
        ("api_key: !file '${NOT_SET}'", "environment variable NOT_SET is not set"),
        ("base_url: !file /etc/hostname", "the YAML tag '!file' has no use here"),
    ],
)
def test_a_file_that_cannot_hold_a_secret_is_told(file, text, told):
    file.write_text(f"providers: [{{name: openai, {text}}}]")

    with pytest.raises(ConfigError, match=re.escape(told)):
        load_merged(file, {}, [])


def test_no_text_of_a_managed_object_has_a_file_read(file, tmp_path):
    (tmp_path / "key").write_text(SECRET)

    merged = load_merged(file, {}, [managed(api_key=f"!file{tmp_path}/key")])

    assert merged.config.providers[0].api_key.reveal() == f"!file{tmp_path}/key"
