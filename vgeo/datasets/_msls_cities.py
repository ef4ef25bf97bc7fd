"""The thirty cities of Mapillary Street-Level Sequences under their usual names, as GeoNames has them.

30 cities, 29 states, 24 countries and 6 continents, the counts of CityGuessr, Table 1. Goa is a state.
"""

# Folder -> city, state, country, continent.
CITIES = {
    "trondheim": ("Trondheim", "Trøndelag", "Norway", "Europe"),
    "london": ("London", "England", "United Kingdom", "Europe"),
    "boston": ("Boston", "Massachusetts", "United States", "North America"),
    "melbourne": ("Melbourne", "Victoria", "Australia", "Oceania"),
    "amsterdam": ("Amsterdam", "North Holland", "The Netherlands", "Europe"),
    "helsinki": ("Helsinki", "Uusimaa", "Finland", "Europe"),
    "tokyo": ("Tokyo", "Tokyo", "Japan", "Asia"),
    "toronto": ("Toronto", "Ontario", "Canada", "North America"),
    "saopaulo": ("São Paulo", "São Paulo", "Brazil", "South America"),
    "moscow": ("Moscow", "Moscow", "Russia", "Europe"),
    "zurich": ("Zürich", "Zurich", "Switzerland", "Europe"),
    "paris": ("Paris", "Île-de-France", "France", "Europe"),
    "bangkok": ("Bangkok", "Bangkok", "Thailand", "Asia"),
    "budapest": ("Budapest", "Budapest", "Hungary", "Europe"),
    "austin": ("Austin", "Texas", "United States", "North America"),
    "berlin": ("Berlin", "State of Berlin", "Germany", "Europe"),
    "ottawa": ("Ottawa", "Ontario", "Canada", "North America"),
    "phoenix": ("Phoenix", "Arizona", "United States", "North America"),
    "goa": ("Goa", "Goa", "India", "Asia"),
    "amman": ("Amman", "Amman", "Jordan", "Asia"),
    "nairobi": ("Nairobi", "Nairobi County", "Kenya", "Africa"),
    "manila": ("Manila", "Metro Manila", "Philippines", "Asia"),
    "cph": ("Copenhagen", "Capital Region", "Denmark", "Europe"),
    "sf": ("San Francisco", "California", "United States", "North America"),
    "miami": ("Miami", "Florida", "United States", "North America"),
    "athens": ("Athens", "Attica", "Greece", "Europe"),
    "buenosaires": ("Buenos Aires", "Buenos Aires F.D.", "Argentina", "South America"),
    "stockholm": ("Stockholm", "Stockholm", "Sweden", "Europe"),
    "bengaluru": ("Bengaluru", "Karnataka", "India", "Asia"),
    "kampala": ("Kampala", "Central Region", "Uganda", "Africa"),
}


def labels_of(folder: str) -> dict[str, str]:
    """Labels of a city's folder; one that is not of the thirty goes by the folder's name, and no country is said."""
    if folder not in CITIES:
        return {"city": folder}
    return dict(zip(("city", "state", "country", "continent"), CITIES[folder], strict=True))
