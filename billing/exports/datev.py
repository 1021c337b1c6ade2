"""Pure. Writes journals as DATEV's Buchungsstapel: EXTF 700, format version 13, Windows-1252, one file for a month.

DATEV's lines have two sides. Each line of a journal stands against one clearing account, which is at zero after each
journal because the journal's lines sum to zero.
"""

from calendar import monthrange
from collections.abc import Sequence
from datetime import date, datetime

from billing.exports.cents import Journal, Line, description_of, number_of
from billing.exports.formats import Grain
from billing.exports.mapping import ENCODING, Datev, Mapping

VERSION, CATEGORY, FORMAT_VERSION = 700, 21, 13
CENTS_MAX = 10**12 - 1
_FIRST = (
    "Umsatz (ohne Soll/Haben-Kz);Soll/Haben-Kennzeichen;WKZ Umsatz;Kurs;Basis-Umsatz;WKZ Basis-Umsatz;Konto;"
    "Gegenkonto (ohne BU-Schlüssel);BU-Schlüssel;Belegdatum;Belegfeld 1;Belegfeld 2;Skonto;Buchungstext;Postensperre;"
    "Diverse Adressnummer;Geschäftspartnerbank;Sachverhalt;Zinssperre;Beleglink"
)
_MIDDLE = (
    "KOST1 - Kostenstelle;KOST2 - Kostenstelle;Kost-Menge;EU-Land u. UStID (Bestimmung);EU-Steuersatz (Bestimmung);"
    "Abw. Versteuerungsart;Sachverhalt L+L;Funktionsergänzung L+L;BU 49 Hauptfunktionstyp;BU 49 Hauptfunktionsnummer;"
    "BU 49 Funktionsergänzung"
)
_LAST = (
    "Stück;Gewicht;Zahlweise;Forderungsart;Veranlagungsjahr;Zugeordnete Fälligkeit;Skontotyp;Auftragsnummer;"
    "Buchungstyp;USt-Schlüssel (Anzahlungen);EU-Land (Anzahlungen);Sachverhalt L+L (Anzahlungen);"
    "EU-Steuersatz (Anzahlungen);Erlöskonto (Anzahlungen);Herkunft-Kz;Buchungs GUID;KOST-Datum;"
    "SEPA-Mandatsreferenz;Skontosperre;Gesellschaftername;Beteiligtennummer;Identifikationsnummer;Zeichnernummer;"
    "Postensperre bis;Bezeichnung SoBil-Sachverhalt;Kennzeichen SoBil-Buchung;Festschreibung;Leistungsdatum;"
    "Datum Zuord. Steuerperiode;Fälligkeit;Generalumkehr (GU);Steuersatz;Land;Abrechnungsreferenz;BVV-Position;"
    "EU-Land u. UStID (Ursprung);EU-Steuersatz (Ursprung);Abw. Skontokonto"
)
COLUMNS = (
    *_FIRST.split(";"),
    *(f"Beleginfo - {part} {number}" for number in range(1, 9) for part in ("Art", "Inhalt")),
    *_MIDDLE.split(";"),
    *(text for n in range(1, 21) for text in (f"Zusatzinformation - Art {n}", f"Zusatzinformation- Inhalt {n}")),
    *_LAST.split(";"),
)


class AmountTooLarge(ValueError):
    """An amount has more digits than DATEV takes."""


def write(journals: Sequence[Journal], mapping: Mapping, grain: Grain, made_at: datetime) -> bytes:
    """The file of the journals of one month. Raises :class:`AmountTooLarge`."""
    datev = mapping.datev
    assert datev is not None, "a mapping for DATEV is read with its header; this is a bug"
    day = journals[0].day
    rows = [_line(line, journal, mapping, datev, grain) for journal in journals for line in journal.lines]
    return "".join(f"{row}\r\n" for row in (_header(datev, day, made_at), ";".join(COLUMNS), *rows)).encode(ENCODING)


def _header(datev: Datev, day: date, made_at: datetime) -> str:
    begins = day.year if day.month >= datev.fiscal_year_begins else day.year - 1
    last = day.replace(day=monthrange(day.year, day.month)[1])
    fields = [
        *('"EXTF"', VERSION, CATEGORY, '"Buchungsstapel"', FORMAT_VERSION),
        *(f"{made_at:%Y%m%d%H%M%S}{made_at.microsecond // 1000:03d}", "", '"RE"', '"gigarouter"', '""'),
        *(datev.consultant, datev.client, f"{begins}{datev.fiscal_year_begins:02d}01", datev.account_length),
        *(f"{day:%Y%m}01", f"{last:%Y%m%d}", f'"gigarouter {day:%Y-%m}"', '""', 1, 0, 0, f'"{datev.currency}"'),
        *("", '""', "", "", '""', "", "", '""', '""'),
    ]
    return ";".join(map(str, fields))


def _line(line: Line, journal: Journal, mapping: Mapping, datev: Datev, grain: Grain) -> str:
    if abs(line.cents) > CENTS_MAX:
        raise AmountTooLarge(f"{line.code} moves more than DATEV takes in one line.")
    amount = f"{abs(line.cents) // 100},{abs(line.cents) % 100:02d}"
    text = description_of(journal.day, grain)
    tax = mapping.by_code[line.code].tax
    fields = [
        *(amount, '"S"' if line.cents > 0 else '"H"', '"USD"', datev.rate.replace(".", ","), "", '""'),
        *(line.code, datev.clearing, f'"{tax}"', f"{journal.day:%d%m}", f'"{number_of(journal.day, grain)}"'),
        *('""', "", f'"{text}"'),
    ]
    return ";".join([*fields, *[""] * (len(COLUMNS) - len(fields))])
