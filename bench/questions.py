"""Questions of a shop's database, made of tau-bench's retail data by templates, for ``text-to-sql:OUT``.

python -m bench.questions TAU_RETAIL OUT
rung bench agents --oracle text-to-sql:OUT --agents sql.yaml

Every template is filled with values that occur in the data, drawn with a fixed seed: up to 10 questions of each, shuffled.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
from pathlib import Path
from typing import Any

from rung.agents.environments.benchmarks.retail.database import read_data

TABLES = """
CREATE TABLE users (user_id TEXT, first_name TEXT, last_name TEXT, email TEXT, city TEXT, state TEXT, zip TEXT);
CREATE TABLE orders (order_id TEXT, user_id TEXT, status TEXT, city TEXT, state TEXT, total REAL);
CREATE TABLE order_items (order_id TEXT, item_id TEXT, product_id TEXT, name TEXT, price REAL);
CREATE TABLE products (product_id TEXT, name TEXT);
CREATE TABLE variants (item_id TEXT, product_id TEXT, available INTEGER, price REAL);
"""
TEMPLATES = (
    ("How many orders are {status}?", "SELECT COUNT(*) FROM orders WHERE status = '{status}'"),
    ("How many users live in {city}?", "SELECT COUNT(*) FROM users WHERE city = '{city}'"),
    ("What is the email of the user {user_id}?", "SELECT email FROM users WHERE user_id = '{user_id}'"),
    ("What is the status of order {order_id}?", "SELECT status FROM orders WHERE order_id = '{order_id}'"),
    ("What is the total of order {order_id}?", "SELECT total FROM orders WHERE order_id = '{order_id}'"),
    ("Which products are in order {order_id}?", "SELECT name FROM order_items WHERE order_id = '{order_id}'"),
    (
        "How many {status} orders go to {state}?",
        "SELECT COUNT(*) FROM orders WHERE status = '{status}' AND state = '{state}'",
    ),
    ("What is the average total of {status} orders?", "SELECT AVG(total) FROM orders WHERE status = '{status}'"),
    ("How many orders have a total above {amount}?", "SELECT COUNT(*) FROM orders WHERE total > {amount}"),
    ("What is the highest price of a {product} in an order?", "SELECT MAX(price) FROM order_items WHERE name = '{product}'"),
    (
        "How many variants of the {product} are available?",
        "SELECT COUNT(*) FROM variants JOIN products ON variants.product_id = products.product_id "
        "WHERE products.name = '{product}' AND available = 1",
    ),
    (
        "What are the totals of the orders of {first_name} {last_name}?",
        "SELECT total FROM orders JOIN users ON orders.user_id = users.user_id "
        "WHERE first_name = '{first_name}' AND last_name = '{last_name}'",
    ),
)  # fmt: skip
EACH = 10


def main(source: Path, out: Path) -> None:
    data = read_data(source)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "shop.sqlite"
    file.unlink(missing_ok=True)
    link = sqlite3.connect(file)
    link.executescript(TABLES)
    for id, user in data.users.items():
        name, at = user["name"], user["address"]
        row: tuple[Any, ...] = (
            id,
            name["first_name"],
            name["last_name"],
            user["email"],
            at["city"],
            at["state"],
            at["zip"],
        )
        link.execute("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    for id, order in data.orders.items():
        total = round(sum(item["price"] for item in order["items"]), 2)
        at = order["address"]
        row = (id, order["user_id"], order["status"], at["city"], at["state"], total)
        link.execute("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", row)
        for item in order["items"]:
            row = (id, item["item_id"], item["product_id"], item["name"], item["price"])
            link.execute("INSERT INTO order_items VALUES (?, ?, ?, ?, ?)", row)
    for id, product in data.products.items():
        link.execute("INSERT INTO products VALUES (?, ?)", (id, product["name"]))
        for item, variant in product["variants"].items():
            row = (item, id, int(variant["available"]), variant["price"])
            link.execute("INSERT INTO variants VALUES (?, ?, ?, ?)", row)
    link.commit()
    draw = random.Random(0)
    made: dict[str, str] = {}
    for question, query in TEMPLATES:
        for _ in range(EACH):
            values = _values(link, draw)
            made[question.format(**values)] = query.format(**values)
    rows = [{"question": question, "query": query, "db_id": "shop"} for question, query in made.items()]
    draw.shuffle(rows)
    (out / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    link.close()
    print(f"{len(rows)} questions from {len(TEMPLATES)} templates, {file}")


def _values(link: sqlite3.Connection, draw: random.Random) -> dict[str, Any]:
    """Values of one user, one order and one product that there are; texts without quotes."""
    users = link.execute("SELECT user_id, first_name, last_name, city, state FROM users ORDER BY user_id").fetchall()
    orders = link.execute("SELECT order_id, status FROM orders ORDER BY order_id").fetchall()
    names = link.execute("SELECT name FROM products ORDER BY name").fetchall()
    user = dict(zip(("user_id", "first_name", "last_name", "city", "state"), draw.choice(users), strict=True))
    order = dict(zip(("order_id", "status"), draw.choice(orders), strict=True))
    return {**user, **order, "product": draw.choice(names)[0], "amount": draw.randrange(100, 2000, 50)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
