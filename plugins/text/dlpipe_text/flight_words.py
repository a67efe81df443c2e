"""Words and values of the embedded flight-booking sentences, by kind; data only, read by `flight_sentences`."""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """Values of one kind: those used in every split, and those added only in dev or only in test."""

    known: tuple[str, ...]
    dev: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


CITIES = Words(
    known=(
        "taipei",
        "tokyo",
        "osaka",
        "kyoto",
        "seoul",
        "singapore",
        "bangkok",
        "manila",
        "hanoi",
        "delhi",
        "mumbai",
        "dubai",
        "istanbul",
        "athens",
        "rome",
        "milan",
        "paris",
        "nice",
        "london",
        "dublin",
        "madrid",
        "lisbon",
        "berlin",
        "munich",
        "vienna",
        "zurich",
        "prague",
        "oslo",
        "stockholm",
        "helsinki",
        "moscow",
        "cairo",
        "nairobi",
        "sydney",
        "auckland",
        "chicago",
        "boston",
        "denver",
        "seattle",
        "miami",
        "dallas",
        "toronto",
        "havana",
        "lima",
        "new york",
        "san francisco",
        "los angeles",
        "las vegas",
        "new orleans",
        "hong kong",
        "mexico city",
        "rio de janeiro",
        "buenos aires",
        "cape town",
        "tel aviv",
        "salt lake city",
    ),
    dev=(
        "beijing",
        "jakarta",
        "florence",
        "geneva",
        "brussels",
        "lyon",
        "krakow",
        "houston",
        "vancouver",
        "bogota",
        "perth",
        "casablanca",
        "san diego",
        "kuala lumpur",
    ),
    test=(
        "shanghai",
        "sapporo",
        "venice",
        "hamburg",
        "porto",
        "warsaw",
        "budapest",
        "edinburgh",
        "atlanta",
        "montreal",
        "melbourne",
        "marrakesh",
        "san jose",
        "santiago",
        "panama city",
    ),
)

AIRLINES = Words(
    known=(
        "lufthansa",
        "united",
        "delta",
        "swiss",
        "qantas",
        "emirates",
        "iberia",
        "finnair",
        "eva air",
        "china airlines",
        "singapore airlines",
        "japan airlines",
        "air france",
        "air canada",
        "british airways",
        "turkish airlines",
    ),
    dev=("ryanair", "icelandair", "korean air", "thai airways"),
    test=("norwegian air", "avianca", "air india", "vietnam airlines"),
)

# Minutes past the hour, spoken ("ten past six") and digital ("18:10").
MINUTES = {"known": (0, 15, 30, 45), "dev": (10, 40), "test": (20, 50)}

# Days of the month that occur only in this split.
DAYS = {"train": (), "dev": (6, 17, 25), "test": (8, 13, 29)}

# Kinds of value that are plain lists.
KINDS = {
    "city": CITIES,
    "airline": AIRLINES,
    "airport": Words(
        (
            "heathrow",
            "narita",
            "jfk",
            "newark",
            "o'hare",
            "charles de gaulle",
            "la guardia",
            "john wayne",
        )
    ),
    "soon": Words(
        (
            "today",
            "tonight",
            "tomorrow",
            "the day after tomorrow",
            "this weekend",
            "next monday",
            "next friday",
            "this thursday",
            "next sunday",
            "this saturday",
        ),
        ("next tuesday",),
        ("next wednesday",),
    ),
    "later": Words(
        (
            "a week later",
            "two weeks later",
            "three days later",
            "the next day",
            "the week after",
            "the following monday",
            "the following friday",
        ),
        ("four days later",),
        ("the following sunday",),
    ),
    "period": Words(("morning", "afternoon", "evening", "early morning", "late afternoon", "late evening")),
    "not_early": Words(("before", "after", "around", "shortly after", "not before", "no earlier than")),
    "not_late": Words(("before", "by", "around", "shortly before", "after", "not after", "no later than")),
    "deadline": Words(("by", "before", "no later than")),
    "cabin": Words(("economy", "economy class", "premium economy", "business", "business class", "first class")),
    "count": Words(("two", "three", "four", "five", "six", "2", "3", "4", "5")),
    "price": Words(
        (
            "200 dollars",
            "250 dollars",
            "300 dollars",
            "400 dollars",
            "500 dollars",
            "600 euros",
            "750 euros",
            "800 dollars",
            "900 euros",
            "1000 dollars",
            "1200 euros",
            "two hundred dollars",
            "five hundred euros",
            "six hundred dollars",
            "one thousand euros",
        )
    ),
    "trip": Words(("one way", "round trip", "return")),
    "stops": Words(("nonstop", "direct")),
    "meal": Words(("vegetarian", "vegan", "kosher", "halal", "gluten free")),
    "carrier": Words(("lh", "ua", "br", "nh", "ba", "af", "flight")),
}
