"""The known ledger of `api_ledger` as an aggregator leaves it on disk: store, register, records."""

from pathlib import Path

from aggregator.records import Records
from contract.meta import Meta, MetaChannel, MetaMeter, encode_meta, meta_hash
from contract.topics import Address
from tests.aggregator.api_ledger import MIDNIGHT_MS, MODULUS_MICRO, REGION, REGISTERS, build


def write_ledger(folder: Path, port: int = 8080) -> Path:
    """Fill `folder`; return the aggregator's configuration file."""
    register, data = folder / "register", folder / "data"
    register.mkdir()
    data.mkdir()
    build(data).store.close()
    (data / "store.duckdb").rename(data / "ledger.duckdb")
    (register / "sites.csv").write_text(
        "site,region,name_zh,name_en,sector,floor_area_m2,headcount,latitude,longitude,tariff\n"
        "foundry,370114,厂,Foundry,metal casting,,10,,,demo-electricity demo-coal demo-water\n"
        "office,370114,机关,Office,government,,10,,,\n"
        "empty,370114,空,Empty,government,,10,,,\n",
        "utf-8",
    )
    (register / "meters.csv").write_text(
        "site,meter,carrier,role,parent,multiplier,edge,valid_from,note\n"
        "foundry,grid,electricity,boundary_in,,100,,,\n"
        "foundry,pv,electricity,own_generation,,1,,,\n"
        "foundry,line,electricity,sub,,1,,,\n"
        "foundry,belt,raw_coal,boundary_in,,1,,,\n"
        "foundry,boiler,steam,conversion_out,,1,,,\n"
        "foundry,water,water,boundary_in,,1,,,\n"
        "foundry,gas,natural_gas,boundary_in,,1,,,\n"
        "office,em-01,electricity,boundary_in,,1,,,\n",
        "utf-8",
    )
    write_metas(data)
    config = folder / "aggregator.toml"
    config.write_text(
        f'[aggregator]\nregions = ["{REGION}"]\ndata_dir = "{data}"\nregister = "{register}"\n'
        f'factor_set = "demo"\n[api]\nport = {port}\n',
        "utf-8",
    )
    return config


def write_metas(data: Path) -> None:
    """Keep what the gateways said of their meters: how large the registers are."""
    records = Records(f"sqlite:///{data / 'records.sqlite'}")
    records.open()
    for site in ("foundry", "office"):
        channels = {
            (meter, channel): MetaChannel(channel, "kWh", MODULUS_MICRO / 1e6, None, None)
            for its_site, meter, channel in REGISTERS
            if its_site == site and channel.startswith("energy")
        }
        meta = Meta(
            tuple(
                MetaMeter(name, "s", "m", tuple(c for (m, _), c in channels.items() if m == name))
                for name in dict.fromkeys(meter for meter, _ in channels)
            )
        )
        payload, address = encode_meta(meta), Address(REGION, site, "gw1")
        name = meta_hash(payload)
        records.keep_metas({(address, name): payload}, {address: (MIDNIGHT_MS, name)})
    records.close()
