"""What the connections of one configuration share."""

from gandalf.config import Config, Provider
from gandalf.domain.secret import Secret
from gandalf.http.upstreams import make_snapshot


def upstreams_of(*urls):
    providers = tuple(
        Provider(name=f"p{n}", type="openai", base_url=url, api_key=Secret("k"))
        for n, url in enumerate(urls)
    )
    snapshot = make_snapshot(Config(providers=providers))
    return list(snapshot.upstreams.values())


async def test_all_upstreams_of_a_configuration_share_what_tls_must_satisfy():
    one, other = upstreams_of("https://a.example/v1", "https://b.example/v1")

    assert one._tls is not None
    assert one._tls is other._tls


async def test_without_tls_nothing_of_it_is_made():
    (upstream,) = upstreams_of("http://a.example/v1")

    assert upstream._tls is None
