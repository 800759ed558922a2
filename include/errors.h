/* SPDX-License-Identifier: Apache-2.0 */
/* Error numbers. Functions that can fail return int: 0 or one of these negated. */
#ifndef ERRORS_H
#define ERRORS_H

enum {
	E_INVAL = 1, /* an argument or a value that makes no sense */
	E_NOMEM,     /* no memory left */
	E_NOENT,     /* no such thing */
	E_EXIST,     /* there is one already */
	E_BUSY,      /* not now: somebody uses it */
	E_RANGE,     /* outside of what is allowed */
	E_AGAIN,     /* try later: back-pressure */
	E_IO,        /* a device or the link failed */
	E_PROTO,     /* the peer broke the protocol */
	E_REFUSED,   /* the peer or a policy said no */
	E_TIMEOUT,   /* it took too long */
	E_CANCELED,  /* somebody asked to stop */
	E_NOSYS,     /* this build or machine has not got it */
	E_CLOSED,    /* the other end has gone */
};

/* The name of an error, for messages: error_name(-E_NOMEM) is "no memory". */
const char *error_name(int error);

#endif
