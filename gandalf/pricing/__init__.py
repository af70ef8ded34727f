"""What requests cost: unit prices, their arithmetic, and the price of each target.

rates     one set of unit prices, and the cost of a usage at these
price     the price of a target: rates by time, service tier and prompt length
price_list  the file of list prices, and how an entry is found in it
vendors   whose list prices the targets of a provider have
resolve   from the configuration to the price of each target
table     the prices of one snapshot
rerate    costs of past requests, computed again
describe  prices as people and programs read them
amounts   amounts of money as text

Prices are integer pico-USD for one unit, costs integer nano-USD. What is not known is
None, never 0.
"""
