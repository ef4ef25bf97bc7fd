"""The cities under the procedural world: real names and centres, and a style for each that is made up but plausible.

Colours are linear-looking RGB in [0, 1]. What a continent shares (vegetation, sky, paint on the road) is kept apart
from what a city is built of; districts and blocks vary on top of both (appearance.py).
"""

from dataclasses import dataclass

Rgb = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Land:
    """What the streets of a continent have in common."""

    vegetation: Rgb
    sky: Rgb
    centre_line: Rgb  # yellow in the Americas, white elsewhere
    asphalt: Rgb
    paving: Rgb


@dataclass(frozen=True, slots=True, kw_only=True)
class City:
    """A real place with a made-up building style."""

    name: str
    state: str
    country: str
    continent: str
    lat_deg: float
    lon_deg: float
    left_hand: bool  # traffic keeps left
    bearing_deg: float  # of the street grid, clockwise from north
    block_m: tuple[float, float]  # usual block, across and along
    road_m: float  # usual carriageway
    storeys: float
    floor_m: float
    bay_m: float  # from window to window
    window: float  # share of a bay that is window
    facade: Rgb
    roof: Rgb
    pitched: bool  # roofs that can be seen from the street
    greenery: float  # share of tree places that hold a tree
    tree: str  # "round", "tall" or "palm"
    hills: float  # elevation of the skyline, degrees


LANDS = {
    "North America": Land(
        vegetation=(0.33, 0.45, 0.22),
        sky=(0.40, 0.62, 0.92),
        centre_line=(0.93, 0.76, 0.22),
        asphalt=(0.38, 0.38, 0.39),
        paving=(0.70, 0.69, 0.66),
    ),
    "South America": Land(
        vegetation=(0.18, 0.42, 0.16),
        sky=(0.50, 0.68, 0.88),
        centre_line=(0.90, 0.72, 0.16),
        asphalt=(0.33, 0.32, 0.31),
        paving=(0.60, 0.57, 0.54),
    ),
    "Europe": Land(
        vegetation=(0.25, 0.42, 0.20),
        sky=(0.52, 0.68, 0.86),
        centre_line=(0.92, 0.92, 0.92),
        asphalt=(0.36, 0.36, 0.38),
        paving=(0.66, 0.63, 0.59),
    ),
    "Africa": Land(
        vegetation=(0.34, 0.44, 0.17),
        sky=(0.46, 0.67, 0.93),
        centre_line=(0.88, 0.86, 0.80),
        asphalt=(0.42, 0.38, 0.35),
        paving=(0.66, 0.49, 0.37),
    ),
    "Asia": Land(
        vegetation=(0.20, 0.38, 0.22),
        sky=(0.62, 0.73, 0.84),
        centre_line=(0.94, 0.94, 0.93),
        asphalt=(0.31, 0.32, 0.34),
        paving=(0.58, 0.58, 0.60),
    ),
    "Oceania": Land(
        vegetation=(0.37, 0.44, 0.29),
        sky=(0.36, 0.60, 0.93),
        centre_line=(0.93, 0.93, 0.92),
        asphalt=(0.36, 0.36, 0.37),
        paving=(0.63, 0.61, 0.57),
    ),
}

# Ordered so that the first few lie on different continents: small worlds take them from the front.
CITIES = (
    City(
        name="San Francisco",
        state="California",
        country="United States",
        continent="North America",
        lat_deg=37.7793,
        lon_deg=-122.4193,
        left_hand=False,
        bearing_deg=9.0,
        block_m=(84.0, 126.0),
        road_m=12.0,
        storeys=3.6,
        floor_m=3.3,
        bay_m=2.3,
        window=0.62,
        facade=(0.76, 0.77, 0.76),
        roof=(0.46, 0.44, 0.43),
        pitched=False,
        greenery=0.35,
        tree="round",
        hills=4.0,
    ),
    City(
        name="Lisbon",
        state="Lisbon",
        country="Portugal",
        continent="Europe",
        lat_deg=38.7139,
        lon_deg=-9.1394,
        left_hand=False,
        bearing_deg=-14.0,
        block_m=(68.0, 88.0),
        road_m=8.5,
        storeys=4.6,
        floor_m=3.5,
        bay_m=2.6,
        window=0.4,
        facade=(0.9, 0.8, 0.64),
        roof=(0.72, 0.37, 0.25),
        pitched=True,
        greenery=0.28,
        tree="round",
        hills=3.0,
    ),
    City(
        name="Osaka",
        state="Osaka",
        country="Japan",
        continent="Asia",
        lat_deg=34.6937,
        lon_deg=135.5022,
        left_hand=True,
        bearing_deg=5.0,
        block_m=(64.0, 94.0),
        road_m=8.0,
        storeys=7.0,
        floor_m=2.9,
        bay_m=2.1,
        window=0.74,
        facade=(0.66, 0.66, 0.66),
        roof=(0.42, 0.44, 0.47),
        pitched=False,
        greenery=0.18,
        tree="tall",
        hills=1.5,
    ),
    City(
        name="São Paulo",
        state="São Paulo",
        country="Brazil",
        continent="South America",
        lat_deg=-23.5506,
        lon_deg=-46.6334,
        left_hand=False,
        bearing_deg=31.0,
        block_m=(88.0, 104.0),
        road_m=10.5,
        storeys=8.0,
        floor_m=3.0,
        bay_m=3.4,
        window=0.66,
        facade=(0.76, 0.69, 0.58),
        roof=(0.60, 0.45, 0.37),
        pitched=False,
        greenery=0.50,
        tree="palm",
        hills=2.0,
    ),
    City(
        name="Nairobi",
        state="Nairobi",
        country="Kenya",
        continent="Africa",
        lat_deg=-1.2833,
        lon_deg=36.8167,
        left_hand=True,
        bearing_deg=-33.0,
        block_m=(92.0, 120.0),
        road_m=11.0,
        storeys=3.0,
        floor_m=3.6,
        bay_m=3.6,
        window=0.36,
        facade=(0.8, 0.63, 0.46),
        roof=(0.56, 0.31, 0.23),
        pitched=True,
        greenery=0.55,
        tree="round",
        hills=5.0,
    ),
    City(
        name="Melbourne",
        state="Victoria",
        country="Australia",
        continent="Oceania",
        lat_deg=-37.8136,
        lon_deg=144.9631,
        left_hand=True,
        bearing_deg=-20.0,
        block_m=(98.0, 112.0),
        road_m=13.0,
        storeys=4.2,
        floor_m=3.9,
        bay_m=3.2,
        window=0.46,
        facade=(0.62, 0.49, 0.42),
        roof=(0.47, 0.40, 0.38),
        pitched=True,
        greenery=0.45,
        tree="tall",
        hills=1.0,
    ),
    City(
        name="Munich",
        state="Bavaria",
        country="Germany",
        continent="Europe",
        lat_deg=48.1372,
        lon_deg=11.5755,
        left_hand=False,
        bearing_deg=22.0,
        block_m=(82.0, 108.0),
        road_m=10.0,
        storeys=5.0,
        floor_m=3.5,
        bay_m=3.0,
        window=0.36,
        facade=(0.86, 0.8, 0.52),
        roof=(0.55, 0.31, 0.24),
        pitched=True,
        greenery=0.42,
        tree="round",
        hills=2.0,
    ),
    City(
        name="San Diego",
        state="California",
        country="United States",
        continent="North America",
        lat_deg=32.7157,
        lon_deg=-117.1647,
        left_hand=False,
        bearing_deg=0.5,
        block_m=(78.0, 104.0),
        road_m=12.5,
        storeys=2.6,
        floor_m=3.2,
        bay_m=4.3,
        window=0.6,
        facade=(0.9, 0.86, 0.79),
        roof=(0.64, 0.45, 0.34),
        pitched=False,
        greenery=0.40,
        tree="palm",
        hills=2.5,
    ),
    City(
        name="Denver",
        state="Colorado",
        country="United States",
        continent="North America",
        lat_deg=39.7392,
        lon_deg=-104.9848,
        left_hand=False,
        bearing_deg=-44.0,
        block_m=(86.0, 118.0),
        road_m=13.0,
        storeys=4.0,
        floor_m=3.8,
        bay_m=4.3,
        window=0.72,
        facade=(0.54, 0.38, 0.32),
        roof=(0.40, 0.38, 0.38),
        pitched=False,
        greenery=0.42,
        tree="tall",
        hills=7.0,
    ),
    City(
        name="Nuremberg",
        state="Bavaria",
        country="Germany",
        continent="Europe",
        lat_deg=49.4539,
        lon_deg=11.0773,
        left_hand=False,
        bearing_deg=-8.0,
        block_m=(70.0, 92.0),
        road_m=8.5,
        storeys=3.8,
        floor_m=3.0,
        bay_m=1.9,
        window=0.48,
        facade=(0.74, 0.58, 0.5),
        roof=(0.62, 0.27, 0.20),
        pitched=True,
        greenery=0.33,
        tree="round",
        hills=2.0,
    ),
)
