"""Shows how the columns of each provider's invoice are read, and stores a map's next version."""

from web.answers import Crumb
from web.finance.listing import FINANCE, Listing, Way, instant, link, number, words
from web.finance.provider_invoices import INVOICES
from web.finance.write import FinanceWrite
from web.ops.write import Field
from web.parts.tables import Column

MAPS = Crumb("Maps of columns", "/finance/invoice-maps")
_MAP = Field(
    name="map",
    label="Map, as TOML",
    kind="area",
    is_required=True,
    hint="Which columns are what, and how the file is written: see the guide.",
)
LIST = Listing(
    operation="list_invoice-maps",
    title="Maps of columns",
    explanation="How the file of each provider's invoice is read: the newest version of each.",
    caption="Maps of columns",
    head=(
        Column("Provider"),
        Column("Version", is_number=True),
        Column("Stored"),
        Column("By"),
        Column("Change"),
    ),
    cells=lambda row: (
        link(row["provider_name"], f"/ops/providers/{row['provider']}"),
        number(row["version"]),
        instant(row["created_at"]),
        words(row["created_by"]),
        link("Look at it, or change it", f"/finance/invoice-maps/{row['provider']}"),
    ),
    ways=(
        Way("/finance/invoice-maps/new", "Store a map"),
        Way("/finance/manual/finance#invoices-of-providers", "How maps are written"),
    ),
    crumbs=(INVOICES,),
    empty="No provider has a map yet, so no invoice can be imported.",
    empty_way=Way("/finance/invoice-maps/new", "Store a map"),
)
NEW = FinanceWrite(
    operation="set_invoice_map",
    verb="Store the map of",
    noun="a provider",
    name="provider_name",
    explanation="The next version of the provider's map. Invoices that were imported keep theirs.",
    fields=(Field(name="provider", label="Provider", is_required=True, hint="Its id or name."), _MAP),
    names={"provider_name": "Provider", "version": "Version", "map": "Map"},
    back="/finance/invoice-maps",
    crumbs=(FINANCE, INVOICES, MAPS),
)
CHANGE = FinanceWrite(
    operation="set_invoice_map",
    verb="Store the map of",
    name="provider_name",
    explanation="The next version of the provider's map. Invoices that were imported keep theirs.",
    values={"provider_id": "provider"},
    from_path={"provider": "provider"},
    reads="retrieve_invoice-map",
    fields=(_MAP,),
    names={"version": "Version", "map": "Map"},
    back="/finance/invoice-maps",
    crumbs=(FINANCE, INVOICES, MAPS),
)
