/*
 * One spelling for one meaning, from the server's own tokens: comments gone, keywords and unquoted names folded, quotes
 * and escapes resolved, one space where this file says so. Pattern rules scan the result; nothing ever executes it.
 *
 * Names are printed bare when they could be, even where they spell a keyword: `"delete"` and `delete` read the same. The
 * shape keeps them apart. No space before `, ; ) ] . ::` and none after `( [ . ::`; one before `(` only after a reserved
 * word, an operator, a literal, a comma or a closing bracket. Control characters in literals and names become spaces.
 */
#include "walk.h"

#include "common/keywords.h"
#include "gramparse.h"

typedef enum Glue
{
	GLUE_START, GLUE_CLOSE, GLUE_COMMA, GLUE_DOT, GLUE_LITERAL, GLUE_OPEN, GLUE_OPERATOR, GLUE_RESERVED, GLUE_SEMICOLON,
	GLUE_WORD,
} Glue;

typedef struct Speller
{
	StringInfo	line;
	StringInfo	shape;
	Glue		before;
	bool		semicolon;			/* owed before the next token */
	bool		data;				/* the statement moves data: its literals are values, not code */
	bool		first;				/* the next token opens a statement */
} Speller;

/* Queries and what wraps them. In all others a literal may be code, a file or a program, so the shape keeps it. */
static bool
opens_data(int token)
{
	switch (token)
	{
		case '(': case DECLARE: case DELETE_P: case EXPLAIN: case INSERT: case MERGE: case PREPARE: case SELECT:
		case TABLE: case UPDATE: case VALUES: case WITH: case WITH_LA:
			return true;
		default:
			return false;
	}
}

static bool
is_spaced(Glue before, Glue now, char bracket)
{
	if (before == GLUE_START || before == GLUE_OPEN || before == GLUE_DOT)
		return false;
	if (now == GLUE_CLOSE || now == GLUE_COMMA || now == GLUE_DOT)
		return false;
	if (now == GLUE_OPEN)
		return bracket == '(' && before != GLUE_WORD;
	return true;
}

static void
lead(Speller *s, Glue now, char bracket)
{
	if (s->semicolon)
	{
		appendStringInfoString(s->line, "; ");
		appendStringInfoString(s->shape, "; ");
		s->semicolon = false;
	}
	else if (is_spaced(s->before, now, bracket))
	{
		appendStringInfoCharMacro(s->line, ' ');
		appendStringInfoCharMacro(s->shape, ' ');
	}
	s->before = now;
	s->first = false;
}

static void
quoted(StringInfo to, const char *text, char quote)
{
	appendStringInfoCharMacro(to, quote);
	for (; *text; text++)
	{
		unsigned char c = (unsigned char) *text;

		if (c == (unsigned char) quote)
			appendStringInfoCharMacro(to, quote);
		appendStringInfoCharMacro(to, c < ' ' || c == 0x7f ? ' ' : (char) c);
	}
	appendStringInfoCharMacro(to, quote);
}

static void
literal(Speller *s, const char *prefix, const char *text, char quote)
{
	int			start;

	lead(s, GLUE_LITERAL, 0);
	start = s->line->len;
	appendStringInfoString(s->line, prefix);
	if (quote)
		quoted(s->line, text, quote);
	else
		appendStringInfoString(s->line, text);
	if (s->data)
		appendStringInfoCharMacro(s->shape, '?');
	else
		appendBinaryStringInfo(s->shape, s->line->data + start, s->line->len - start);
}

static bool
is_plain(const char *name)
{
	if (!(*name == '_' || (*name >= 'a' && *name <= 'z') || (*name & 0x80)))
		return false;
	for (; *name; name++)
		if (!(*name == '_' || *name == '$' || (*name >= 'a' && *name <= 'z') || (*name >= '0' && *name <= '9')
			  || (*name & 0x80)))
			return false;
	return true;
}

static void
name(Speller *s, const char *text)
{
	int			keyword = ScanKeywordLookup(text, &ScanKeywords);

	lead(s, keyword >= 0 && ScanKeywordCategories[keyword] == RESERVED_KEYWORD ? GLUE_RESERVED : GLUE_WORD, 0);
	if (is_plain(text))
		appendStringInfoString(s->line, text);
	else
		quoted(s->line, text, '"');
	if (is_plain(text) && keyword < 0)
		appendStringInfoString(s->shape, text);
	else
		quoted(s->shape, text, '"');
}

static void
fixed(Speller *s, Glue glue, const char *text)
{
	lead(s, glue, *text);
	appendStringInfoString(s->line, text);
	appendStringInfoString(s->shape, text);
}

static void
symbol(Speller *s, int token)
{
	char		text[2] = {(char) token, 0};

	switch (token)
	{
		case '(': case '[':
			fixed(s, GLUE_OPEN, text);
			break;
		case ')': case ']':
			fixed(s, GLUE_CLOSE, text);
			break;
		case ',':
			fixed(s, GLUE_COMMA, text);
			break;
		case '.':
			fixed(s, GLUE_DOT, text);
			break;
		case ';':
			s->semicolon = s->line->len > 0;
			s->first = true;
			break;
		default:
			fixed(s, GLUE_OPERATOR, text);
			break;
	}
}

static void
token(Speller *s, int token, const YYSTYPE *value)
{
	const core_YYSTYPE *core = &value->core_yystype;
	char		number[16];

	if (s->first)
		s->data = opens_data(token);
	switch (token)
	{
		case IDENT:
			name(s, core->str);
			break;
		case SCONST:
			literal(s, "", core->str, '\'');
			break;
		case BCONST: case XCONST:
			literal(s, *core->str == 'b' ? "b" : "x", *core->str ? core->str + 1 : "", '\'');
			break;
		case FCONST:
			literal(s, "", core->str, 0);
			break;
		case ICONST:
			snprintf(number, sizeof(number), "%d", core->ival);
			literal(s, "", number, 0);
			break;
		case PARAM:
			snprintf(number, sizeof(number), "$%d", core->ival);
			fixed(s, GLUE_LITERAL, number);
			break;
		case Op:
			fixed(s, GLUE_OPERATOR, core->str);
			break;
		case TYPECAST:
			fixed(s, GLUE_DOT, "::");
			break;
		case DOT_DOT:
			fixed(s, GLUE_DOT, "..");
			break;
		case COLON_EQUALS:
			fixed(s, GLUE_OPERATOR, ":=");
			break;
		case EQUALS_GREATER:
			fixed(s, GLUE_OPERATOR, "=>");
			break;
		case LESS_EQUALS:
			fixed(s, GLUE_OPERATOR, "<=");
			break;
		case GREATER_EQUALS:
			fixed(s, GLUE_OPERATOR, ">=");
			break;
		case NOT_EQUALS:
			fixed(s, GLUE_OPERATOR, "<>");
			break;
		default:
			if (token < 256)
				symbol(s, token);
			else
			{
				int			keyword = ScanKeywordLookup(core->keyword, &ScanKeywords);

				fixed(s, keyword >= 0 && ScanKeywordCategories[keyword] == RESERVED_KEYWORD ? GLUE_RESERVED : GLUE_WORD,
					  core->keyword);
			}
			break;
	}
}

void
spell(const char *text, StringInfo line, StringInfo shape)
{
	base_yy_extra_type extra;
	core_yyscan_t scanner = scanner_init(text, &extra.core_yy_extra, &ScanKeywords, ScanKeywordTokens);
	Speller		s = {.line = line, .shape = shape, .before = GLUE_START, .first = true};
	YYSTYPE		value;
	YYLTYPE		location;
	int			next;

	s.semicolon = line->len > 0;
	extra.have_lookahead = false;
	while ((next = base_yylex(&value, &location, scanner)) != 0)
		token(&s, next, &value);
	scanner_finish(scanner);
}
