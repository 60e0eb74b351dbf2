//! Compiles the contract with protox, so that no build machine needs `protoc`.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

/// The messages that carry a password, a token or a link. `src/lib.rs` writes their `Debug` by hand;
/// if the two lists differ, the crate does not compile.
const SECRET_MESSAGES: [&str; 7] = [
    ".usher.v1.InviteUserResponse",
    ".usher.v1.ResendInvitationResponse",
    ".usher.v1.LookUpInvitationRequest",
    ".usher.v1.AcceptInvitationRequest",
    ".usher.v1.VerifyPasswordRequest",
    ".usher.v1.ResetPasswordRequest",
    ".usher.v1.ChangeEmailRequest",
];

const FILES: [&str; 7] = [
    "usher/v1/account_service.proto",
    "usher/v1/audit_service.proto",
    "usher/v1/authorization_service.proto",
    "usher/v1/license_service.proto",
    "usher/v1/member_service.proto",
    "usher/v1/sign_in_service.proto",
    "usher/v1/user_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../../proto");

    let mut compiler = protox::Compiler::new(["../../proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;

    // Encoded by the compiler itself: the way through prost-types would lose custom options.
    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("usher_descriptor.bin");
    fs::write(descriptors, compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure().skip_debug(SECRET_MESSAGES).compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
