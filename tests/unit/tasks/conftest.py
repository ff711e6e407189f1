"""A small landscape of two REST systems: customers and orders with lines in a shop, invoices in the books."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from tasks.world import World

FILES = {
    "landscape.yaml": """
timezone: Europe/London
people:
  head:  {name: Ada Moss, email: ada@example.com, slack: "@ada"}
  clerk: {name: Ben Okoro, email: ben@example.com}
systems:
  shop:
    connector: shop_api
    url: "http://127.0.0.1:9"
    network: loopback
    owner: head
    token: {env: SHOP_TOKEN}
  books: {connector: books_api, url: "http://127.0.0.1:9", network: loopback, owner: clerk}
  post:  {connector: none, owner: clerk, why: Letters}
integrations:
  customers:
    owner: head
    entity: customer
    to: [{system: books, stream: contacts, create: true, mode: write, when: "vip == true"}]
    ask_when: "changed('name')"
    brake: {deletes: "max(5, 2%)"}
  orders:
    owner: clerk
    entity: order
    to: [{system: books, stream: invoices, create: true, mode: write}]
""",
    "connectors/shop_api.yaml": """
auth: {kind: bearer, from: token}
streams:
  customers: {path: /customers, records: data, key: id, makes: [{entity: customer}]}
  products: {path: /products, records: data, key: id, makes: [{entity: product}]}
  orders: {path: /orders, records: data, key: id, makes: [{entity: order}]}
  order_lines: {path: /order-lines, records: data, key: [order, line], child_of: {stream: orders, by: order}}
  news: {path: /news, records: data, key: id}
""",
    "connectors/books_api.yaml": """
streams:
  contacts:
    path: /contacts
    records: data
    key: id
    makes: [{entity: customer}]
    create: {path: /contacts, id: id}
    update: {path: "/contacts/{id}"}
  invoices:
    path: /invoices
    records: data
    key: id
    create: {path: /invoices, id: id}
    update: {path: "/invoices/{id}"}
""",
    "model/customer.yaml": """
entity: customer
means: Who buys
record: shop
owner: head
until_recorded: [books]
fields:
  name:  {type: text, required: true, means: Its name}
  vip:   {type: boolean, means: Whether it matters most}
  terms: {type: text, record: books, means: When it pays}
match:
  unique: [name]
""",
    "model/product.yaml": """
entity: product
means: What is sold
record: shop
owner: head
fields:
  sku: {type: text, required: true, means: Its number}
""",
    "model/order.yaml": """
entity: order
means: What was ordered
record: shop
owner: clerk
fields:
  number:   {type: text, required: true, means: Its number}
  customer: {type: reference, entity: customer, means: Who ordered}
  currency: {type: currency, means: The currency of its amounts}
  gross:    {type: money, currency: "field:currency", means: What it costs}
  fee:      {type: money, currency: EUR, means: What the bank takes}
  deposit:  {type: money, means: What was paid before}
  lines:
    type: list
    key: line
    means: What was ordered
    of:
      line:    {type: text, required: true, means: Which line}
      product: {type: reference, entity: product, means: What}
""",
    "mappings/shop.csv": """source_system,source_field,target_system,target_field,rule,notes
shop,customers.name,canonical,customer.name,,
shop,customers.vip,canonical,customer.vip,,
shop,products.sku,canonical,product.sku,,
shop,orders.no,canonical,order.number,,
shop,orders.customer,canonical,order.customer,lookup customers,
shop,orders.ccy,canonical,order.currency,,
shop,orders.gross,canonical,order.gross,,
shop,orders.fee,canonical,order.fee,,
shop,orders.deposit,canonical,order.deposit,money EUR,
shop,order_lines.line,canonical,order.lines.line,,
shop,order_lines.product,canonical,order.lines.product,lookup products,
books,contacts.name,canonical,customer.name,,
books,contacts.terms,canonical,customer.terms,,
canonical,customer.name,books,contacts.name,,
canonical,order.number,books,invoices.number,,
canonical,order.customer,books,invoices.contact,,
canonical,order.currency,books,invoices.currency,,
canonical,order.gross,books,invoices.gross,,
canonical,order.fee,books,invoices.fee,,
canonical,order.deposit,books,invoices.deposit,,
canonical,order.number + order.currency,books,invoices.title,join,
canonical,,books,invoices.kind,const sale,
""",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "small" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip("\n"), encoding="utf-8")
    return tmp_path / "small"


@pytest.fixture
def world(folder: Path) -> World:
    """Its world, over a database that nobody reaches."""
    from tasks.landscape import load

    return World(load(folder), folder, sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"))
