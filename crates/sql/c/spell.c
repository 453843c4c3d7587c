/*
 * One spelling for one meaning, from the server's own tokens: comments gone, keywords and unquoted names folded, quotes
 * and escapes resolved, one space where this file says so. Pattern rules scan the result; nothing ever executes it.
 *
 * Names are printed bare when they could be, even where they spell a keyword: `"delete"` and `delete` read the same. The
 * shape keeps them apart. No space before `, ; ) ] . ::` and none after `( [ . ::`; one before `(` only after a reserved
 * word, an operator, a literal, a comma or a closing bracket. Control characters in literals and names become spaces.
 *
 * The key is for finding texts that differ in literals alone: two with the same key have the same tokens, and so the same
 * tree, but for the values of literals. A number behind LIMIT or FETCH FIRST is a fact, and stands in the key.
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
	Walk	   *walk;				/* whose key is written; NULL: nobody's */
	bool		shared;				/* all statements so far are queries, of which only literals' values vary */
	bool		kept;				/* the next token's value stands in the key even if it is a literal's */
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

/* Of those, the ones whose facts come from walk.c alone, which says when it looks at a literal. */
static bool
opens_query(int token)
{
	return token != DECLARE && token != EXPLAIN && token != PREPARE && opens_data(token);
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

static inline void
put(StringInfo to, const char *text, int len)
{
	if (to->len + len >= to->maxlen)
		enlargeStringInfo(to, len);
	memcpy(to->data + to->len, text, len);
	to->len += len;
	to->data[to->len] = 0;
}

static inline void
both(Speller *s, const char *text, int len)
{
	put(s->line, text, len);
	put(s->shape, text, len);
}

static inline void
lead(Speller *s, Glue now, char bracket)
{
	if (s->semicolon)
	{
		both(s, "; ", 2);
		s->semicolon = false;
	}
	else if (is_spaced(s->before, now, bracket))
		both(s, " ", 1);
	s->before = now;
	s->first = false;
}

static void
quoted(StringInfo to, const char *text, char quote)
{
	put(to, &quote, 1);
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
	put(s->line, prefix, strlen(prefix));
	if (quote)
		quoted(s->line, text, quote);
	else
		put(s->line, text, strlen(text));
	if (s->data)
		put(s->shape, "?", 1);
	else
		put(s->shape, s->line->data + start, s->line->len - start);
}

/* The length of a name that needs no quotes, or -1. */
static int
plain_length(const char *name)
{
	const char *at = name;

	if (!(*at == '_' || (*at >= 'a' && *at <= 'z') || (*at & 0x80)))
		return -1;
	for (; *at; at++)
		if (!(*at == '_' || *at == '$' || (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') || (*at & 0x80)))
			return -1;
	return at - name;
}

static void
name(Speller *s, const char *text, bool quotes)
{
	int			len = plain_length(text);
	int			keyword = quotes && len > 0 ? ScanKeywordLookup(text, &ScanKeywords) : -1;

	lead(s, keyword >= 0 && ScanKeywordCategories[keyword] == RESERVED_KEYWORD ? GLUE_RESERVED : GLUE_WORD, 0);
	if (len > 0)
		put(s->line, text, len);
	else
		quoted(s->line, text, '"');
	if (len > 0 && keyword < 0)
		put(s->shape, text, len);
	else
		quoted(s->shape, text, '"');
}

static void
fixed(Speller *s, Glue glue, const char *text, int len)
{
	lead(s, glue, *text);
	both(s, text, len);
}

/* Which tokens are reserved words, by token number from 258 on; filled once a thread. */
static __thread bool reserved[1024];
static __thread bool reserved_known;

static void
learn_reserved(void)
{
	for (int i = 0; i < ScanKeywords.num_keywords; i++)
		if (ScanKeywordCategories[i] == RESERVED_KEYWORD && ScanKeywordTokens[i] < (int) lengthof(reserved))
			reserved[ScanKeywordTokens[i]] = true;
	reserved[NOT_LA] = reserved[WITH_LA] = true;
	reserved_known = true;
}

static void
keyword(Speller *s, int token, const char *text)
{
	bool		is_reserved = token < (int) lengthof(reserved) && reserved[token];

	fixed(s, is_reserved ? GLUE_RESERVED : GLUE_WORD, text, strlen(text));
}

static void
integer(Speller *s, int value, bool parameter)
{
	char		digits[16];
	char	   *at = digits + sizeof(digits) - 1;
	unsigned int rest = value;

	*at = 0;
	do
		*--at = '0' + rest % 10;
	while ((rest /= 10) != 0);
	if (parameter)
	{
		*--at = '$';
		fixed(s, GLUE_LITERAL, at, strlen(at));
	}
	else
		literal(s, "", at, 0);
}

static void
symbol(Speller *s, int token)
{
	char		text[2] = {(char) token, 0};

	switch (token)
	{
		case '(': case '[':
			fixed(s, GLUE_OPEN, text, 1);
			break;
		case ')': case ']':
			fixed(s, GLUE_CLOSE, text, 1);
			break;
		case ',':
			fixed(s, GLUE_COMMA, text, 1);
			break;
		case '.':
			fixed(s, GLUE_DOT, text, 1);
			break;
		case ';':
			s->semicolon = s->line->len > 0;
			s->first = true;
			break;
		default:
			fixed(s, GLUE_OPERATOR, text, 1);
			break;
	}
}

static void
token(Speller *s, int token, const YYSTYPE *value, bool quotes)
{
	const core_YYSTYPE *core = &value->core_yystype;

	if (s->first)
		s->data = opens_data(token);
	switch (token)
	{
		case IDENT:
			name(s, core->str, quotes);
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
			integer(s, core->ival, false);
			break;
		case PARAM:
			integer(s, core->ival, true);
			break;
		case Op:
			fixed(s, GLUE_OPERATOR, core->str, strlen(core->str));
			break;
		case TYPECAST:
			fixed(s, GLUE_DOT, "::", 2);
			break;
		case DOT_DOT:
			fixed(s, GLUE_DOT, "..", 2);
			break;
		case COLON_EQUALS:
			fixed(s, GLUE_OPERATOR, ":=", 2);
			break;
		case EQUALS_GREATER:
			fixed(s, GLUE_OPERATOR, "=>", 2);
			break;
		case LESS_EQUALS:
			fixed(s, GLUE_OPERATOR, "<=", 2);
			break;
		case GREATER_EQUALS:
			fixed(s, GLUE_OPERATOR, ">=", 2);
			break;
		case NOT_EQUALS:
			fixed(s, GLUE_OPERATOR, "<>", 2);
			break;
		default:
			if (token < 256)
				symbol(s, token);
			else
				keyword(s, token, core->keyword);
			break;
	}
}

static bool
is_literal(int token)
{
	return token == ICONST || token == FCONST || token == SCONST || token == BCONST || token == XCONST;
}

/* Token numbers, each with its value where it has one that matters; values end with NUL, which none of them holds. */
static void
key(Speller *s, int token, const core_YYSTYPE *value, int location)
{
	Walk	   *w = s->walk;
	uint16_t	number = (uint16_t) token;
	bool		kept = s->kept && w->kept_count < KEPT_LITERALS;

	if (s->first && token != ';')
		s->shared = s->shared && opens_query(token);
	s->kept = token == LIMIT || token == FIRST_P || token == NEXT;
	put(&w->key, (const char *) &number, sizeof(number));
	if (is_literal(token))
	{
		if (!kept)
			return;
		w->kept[w->kept_count++] = location;
	}
	if (token == ICONST || token == PARAM)
		put(&w->key, (const char *) &value->ival, sizeof(value->ival));
	else if (token == IDENT || token == Op || is_literal(token))
		put(&w->key, value->str, strlen(value->str) + 1);
}

static void
spell_for(Speller *s, const char *text)
{
	base_yy_extra_type extra;
	core_yyscan_t scanner = scanner_init(text, &extra.core_yy_extra, &ScanKeywords, ScanKeywordTokens);
	YYSTYPE		value;
	YYLTYPE		location;
	int			next;

	if (!reserved_known)
		learn_reserved();
	s->semicolon = s->line->len > 0;
	extra.have_lookahead = false;
	while ((next = base_yylex(&value, &location, scanner)) != 0)
	{
		if (s->walk && s->shared)
			key(s, next, &value.core_yystype, location);
		token(s, next, &value, text[location] == '"' || text[location] == 'u' || text[location] == 'U');
	}
	scanner_finish(scanner);
}

/* Code within a text: its spelling stands behind what was spelt before. */
void
spell(const char *text, StringInfo line, StringInfo shape)
{
	Speller		s = {.line = line, .shape = shape, .before = GLUE_START, .first = true};

	spell_for(&s, text);
}

/* The text itself. Whether its key may be another text's too. */
bool
spell_whole(Walk *w)
{
	Speller		s = {.line = &w->line, .shape = &w->shape, .before = GLUE_START, .first = true, .walk = w, .shared = true};

	spell_for(&s, w->text);
	return s.shared;
}

/* Called wherever a fact depends on a literal's value. */
void
look_at_literal(Walk *w, A_Const *constant)
{
	for (int i = 0; i < w->kept_count; i++)
		if (w->kept[i] == constant->location)
			return;
	w->literal = true;
}
