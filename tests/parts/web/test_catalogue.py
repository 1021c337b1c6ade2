import pytest

from tests.harness.pages import Pages

pytestmark = pytest.mark.anyio


async def test_x(pages: Pages) -> None:
    c = pages.reader()
    for p in (
        "/models",
        "/models?q=f2llm&sort=-price&status=soon",
        "/models.json",
        "/models.csv",
        "/models.atom",
        "/models/codefuse-ai/F2LLM-v2-4B",
        "/models/codefuse-ai/F2LLM-v2-4B.md",
        "/models/codefuse-ai/F2LLM-v2-4B.json",
        "/models/F2LLM-v2-4B",
        "/models/x/y",
        "/compare",
        "/compare?m=F2LLM-v2-4B&m=text-embedding-3-small",
    ):
        with pages.counted() as n:
            a = await c.get(p)
        print("=====", p, a.status_code, len(a.content), len(n), n[-1][:100] if n else "")
        open("/tmp/page" + p.replace("/", "_").replace("?", "_")[:60], "wb").write(a.content)
        if a.status_code >= 500:
            print(a.text[-1500:])
    assert 0
