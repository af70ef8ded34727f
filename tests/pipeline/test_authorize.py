import pytest

from gandalf.domain.errors import PermissionDenied
from gandalf.domain.identity import Permission, Role
from gandalf.pipeline.authorize import Authorize, AuthorizeModel, require

from .builders import a_chat_body, an_exchange, an_identity

# The table of the documentation, written a second time.
PERMITTED = {
    Role.ADMIN: set(Permission),
    Role.MEMBER: {
        Permission.USE_MODELS,
        Permission.MANAGE_OWN_KEYS,
        Permission.VIEW_OWN_USAGE,
    },
    Role.VIEWER: {Permission.VIEW_OWN_USAGE, Permission.VIEW_ALL_USAGE},
    Role.SERVICE_ACCOUNT: {Permission.USE_MODELS},
}


def asking_for(model, **identity):
    return an_exchange(a_chat_body(model=model), identity=an_identity(**identity))


@pytest.mark.parametrize("role", [Role.ADMIN, Role.MEMBER, Role.SERVICE_ACCOUNT])
async def test_a_role_that_may_use_models_passes(role):
    assert Authorize().enter(asking_for("any", role=role)) is None


async def test_a_viewer_may_not_use_models():
    with pytest.raises(PermissionDenied) as caught:
        Authorize().enter(asking_for("any", role=Role.VIEWER))

    assert caught.value.status == 403
    assert caught.value.code == "insufficient_permissions"


@pytest.mark.parametrize(
    ("allowed", "model"),
    [
        ((), "anything"),
        (("gpt-4o",), "gpt-4o"),
        (("other", "gpt-*"), "gpt-4o"),
        (("gpt-*",), "gpt-"),
        (("*",), "anything"),
    ],
)
async def test_a_model_on_the_keys_list_passes(allowed, model):
    exchange = asking_for(model, allowed_models=allowed)

    assert AuthorizeModel().enter(exchange) is None


@pytest.mark.parametrize(
    ("allowed", "model"),
    [
        (("gpt-4o",), "gpt-4o-mini"),
        (("gpt-4o",), "GPT-4o"),
        (("gpt-4o",), "gpt-4"),
        (("gpt-4o",), " gpt-4o"),
        (("gpt-*",), "x-gpt-4o"),
        (("gpt-?",), "gpt-4"),
        (("a*b",), "aXb"),
        (("",), "gpt-4o"),
    ],
)
async def test_a_model_that_is_not_on_the_keys_list_is_refused(allowed, model):
    with pytest.raises(PermissionDenied) as caught:
        AuthorizeModel().enter(asking_for(model, allowed_models=allowed))

    assert caught.value.code == "model_not_allowed"


async def test_an_admins_key_is_held_to_its_list_too():
    with pytest.raises(PermissionDenied):
        AuthorizeModel().enter(asking_for("b", role=Role.ADMIN, allowed_models=("a",)))


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("permission", Permission)
def test_every_permission_is_required_of_every_role(role, permission):
    identity = an_identity(role=role)

    if permission in PERMITTED[role]:
        require(identity, permission)
    else:
        with pytest.raises(PermissionDenied, match="insufficient permissions"):
            require(identity, permission)


def test_one_of_several_permissions_is_enough_and_none_is_not():
    viewer = an_identity(role=Role.VIEWER)

    require(viewer, Permission.MANAGE_ORGS, Permission.VIEW_ALL_USAGE)
    with pytest.raises(PermissionDenied):
        require(viewer, Permission.MANAGE_ORGS, Permission.MANAGE_ALL_KEYS)
    with pytest.raises(PermissionDenied):
        require(an_identity(role=Role.ADMIN))


def test_permissions_joined_into_one_are_required_together():
    both = Permission.USE_MODELS | Permission.VIEW_ALL_USAGE

    require(an_identity(role=Role.ADMIN), both)
    with pytest.raises(PermissionDenied):
        require(an_identity(role=Role.MEMBER), both)
