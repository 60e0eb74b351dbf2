//! The body of a streamed answer, which carries its call to the end: the code stands in the
//! trailers, and a caller who leaves drops the body before them.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderMap;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};

use super::outcome::{Call, Observer, code_of};
use super::panics::catch;

pub(super) struct Streamed<O: Observer> {
    /// `None` once it ended or panicked.
    body: Option<Body>,
    call: Call<O>,
}

impl<O: Observer> Streamed<O> {
    pub(super) fn new(body: Body, call: Call<O>) -> Self {
        Self { body: Some(body), call }
    }
}

impl<O: Observer> HttpBody for Streamed<O> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        match catch(|| Pin::new(body).poll_frame(cx)) {
            Ok(polled) => {
                match &polled {
                    Poll::Ready(Some(Ok(frame))) => {
                        if let Some(trailers) = frame.trailers_ref() {
                            self.call.code = code_of(trailers).unwrap_or(Code::Unknown);
                        }
                    }
                    Poll::Ready(Some(Err(status))) => self.call.code = status.code(),
                    Poll::Ready(None) if self.call.code == Code::Cancelled => self.call.code = Code::Unknown,
                    Poll::Ready(None) | Poll::Pending => {}
                }
                polled
            }
            Err(caught) => {
                let status = self.call.panicked(&caught);
                self.call.code = status.code();
                // Dropped in peace: what panicked may do so again.
                let body = self.body.take();
                let _ = catch(|| drop(body));
                let mut trailers = HeaderMap::new();
                if status.add_header(&mut trailers).is_err() {
                    return Poll::Ready(Some(Err(status)));
                }
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
