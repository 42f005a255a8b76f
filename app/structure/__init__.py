"""What an answer may look like, as a grammar: JSON of a schema, tool calls, and the thinking before them.

Knows no model, no job, no HTTP. A grammar is text in llguidance's dialect of
Lark; the engines make masks of it.
"""
